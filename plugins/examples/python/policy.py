"""fewest-outstanding-python: sends each request to the complete replica with the fewest requests on their way; replicas that tie take turns.

The host keeps several instances of this plugin and asks whichever is free. So an answer may depend on the topology, the
pressures and the request, and on nothing else: no counter, no clock, no randomness of its own.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import Refusal

# The models of the newest topology, and the complete replicas of each. They stand here because an object of the classes below
# lives for one call.
models = []
paths_of = []


class Plugin(exports.Plugin):
    def configure(self, config: str) -> None:
        # This plugin has no settings: `{}` is all that it accepts.
        if config not in ("", "{}"):
            raise Err(f"fewest-outstanding-python has no settings, but was given {config}")


class Routing(exports.Routing):
    def set_topology(self, topology) -> None:
        """Called for each plan, before the first `route`: the place for work that `route` should not repeat."""
        models[:] = topology.models
        paths_of[:] = [complete_replicas(model) for model in topology.models]

    def set_pressure(self, pressures) -> None:
        """How hard each device works. Not needed here."""

    def route(self, request) -> list[int]:
        if request.model >= len(models):
            raise refusal(f"model {request.model} is not in the topology, which has {len(models)} models")
        paths = paths_of[request.model]
        if not paths:
            model = models[request.model]
            raise refusal(f"model {model.id} has no complete replica, {len(model.segments)} segments are ready")
        outstanding = request.outstanding
        load = [sum(outstanding[segment] for segment in path) for path in paths]
        fewest = min(load)
        best = [path for path, waiting in zip(paths, load) if waiting == fewest]
        # The request's ordinal counts up: the only way to take turns.
        return best[request.ordinal % len(best)]


def complete_replicas(model) -> list[list[int]]:
    """Paths, one for each replica whose segments cover every block once and in order.

    A replica with a stage that is not ready is left out.
    """
    replicas = {}
    for index, segment in enumerate(model.segments):
        replicas.setdefault(segment.replica, []).append(index)
    paths = []
    for _, path in sorted(replicas.items()):
        path.sort(key=lambda index: model.segments[index].stage)
        following = 0
        for index in path:
            segment = model.segments[index]
            if segment.start != following or segment.end <= following:
                break
            following = segment.end
        else:
            if following == model.blocks:
                paths.append(path)
    return paths


def refusal(reason: str) -> Err:
    """An honest no: the client is told that no device can take the request."""
    return Err(Refusal(reason, None, 0.0))
