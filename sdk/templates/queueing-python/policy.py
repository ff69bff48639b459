"""{{name}}: requests wait in order of arrival. One that would be late even if it were served now is refused.

The waiting line itself is the host's; a policy ranks what arrives. The same arrival must always give the same answer:
nothing is kept between calls.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.queueing import Decision_Admit, Decision_Refuse
from wit_world.imports.types import Refusal


class Plugin(exports.Plugin):
    def configure(self, config: str) -> None:
        # This plugin has no settings: `{}` is all that it accepts.
        if config not in ("", "{}"):
            raise Err(f"{{name}} has no settings, but was given {config}")


class Queueing(exports.Queueing):
    def admit(self, arrival):
        waiting = sum(line.depth for line in arrival.classes)
        if waiting >= arrival.depth_max:
            return refuse(f"{waiting} requests wait, at most {arrival.depth_max} may")
        if 0 < arrival.deadline_ms < arrival.expected_ms:
            return refuse(f"the answer takes {arrival.expected_ms:.0f} ms, the deadline is in {arrival.deadline_ms:.0f} ms")
        # The smallest rank is served first: order of arrival.
        return Decision_Admit(arrival.now_ms)


def refuse(reason: str) -> Decision_Refuse:
    """The client is told at once that the host is busy."""
    return Decision_Refuse(Refusal(reason, None, 0.0))
