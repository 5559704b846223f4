"""Who may call what: keys, user tokens, local calls, limits, the audit log."""

from serving.access.caller import Caller, caller_of, require_user
from serving.access.limits import Charged, charge_events
from serving.access.middleware import Access

__all__ = ["Access", "Caller", "Charged", "caller_of", "charge_events", "require_user"]
