"""What all sections of the profile share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Settings that belong together; a field that is not there is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
