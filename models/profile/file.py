"""A profile whose file may change while the program runs."""

from __future__ import annotations

from models.profile.schema import SHIPPED, Profile, ProfileError, load_profile, yaml_path


class ProfileFile:
    """
    Attributes:
        profile: the last good one. A change replaces it, it is never changed itself.
        problem: why the file as it is now is not in use; None: it is.
    """

    def __init__(self, name_or_path: str) -> None:
        """
        Raises:
            ProfileError: no such profile, or a field is wrong.
        """
        self.name_or_path = name_or_path
        self.problem: str | None = None
        self._seen = self._look()  # before reading: a change in between is found next time
        self.profile: Profile = load_profile(name_or_path)

    def refresh(self) -> str | None:
        """Read the file again if it changed; a bad one leaves the profile as it is.

        Costs one look at the file's status when nothing changed. Returns ``problem``.
        """
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self.profile = load_profile(self.name_or_path)
                self.problem = None
            except ProfileError as error:
                self.problem = str(error)
        return self.problem

    def _look(self) -> tuple[int, int, int] | None:
        """What changes with the file: when it was written, its size, and which file it is."""
        try:
            status = yaml_path(self.name_or_path, SHIPPED).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
