"""{{name}}: fills the offers from the fastest to the slowest, each with as many blocks as fit, until the model is placed.

One replica, no second thoughts. What does not fit is refused in words. The same problem must always give the same answer:
no clock, no randomness, nothing kept between calls.
"""

import math

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.allocation import Proposal, Replica, Roles, Stage, Verdict_Keep
from wit_world.imports.types import Refusal


class Plugin(exports.Plugin):
    def configure(self, config: str) -> None:
        # This plugin has no settings: `{}` is all that it accepts.
        if config not in ("", "{}"):
            raise Err(f"{{name}} has no settings, but was given {config}")


class Allocation(exports.Allocation):
    def allocate(self, problem) -> Proposal:
        fastest_first = sorted(range(len(problem.offers)), key=lambda offer: run_ms(problem, offer))
        stages = []
        start = 0
        while start < len(problem.blocks):
            used = {stage.offer for stage in stages}
            ends = ((offer, longest(problem, offer, start, stages)) for offer in fastest_first if offer not in used)
            offer, end = next(((offer, end) for offer, end in ends if end is not None), (None, None))
            if offer is None:
                raise Err(shortfall(problem, start))
            stages.append(Stage(offer, start, end))
            start = end
        return Proposal([Replica(stages)], 0.0, [])

    def review(self, observed):
        """Whether the plan in force should be made again. This policy would only repeat itself."""
        return Verdict_Keep()


def weight_bytes(problem, start: int, end: int) -> float:
    """Bytes of weights in blocks start..end. A weight that several of them share counts once."""
    own = sum(block.weight_bytes for block in problem.blocks[start:end])
    shared = sum(weight.bytes for weight in problem.shared_weights if any(start <= block < end for block in weight.blocks))
    return own + shared


def need(problem, offer: int, start: int, end: int) -> float:
    """Bytes that blocks start..end take on an offer: weights, attention cache, the largest workspace, the fixed part.

    The host computes the same number when it checks the answer.
    """
    blocks = problem.blocks[start:end]
    cache = sum(block.kv_bytes_per_token for block in blocks) * problem.sequences * problem.tokens
    workspace = max((block.workspace_bytes for block in blocks), default=0.0)
    offer = problem.offers[offer]
    return math.ceil(weight_bytes(problem, start, end) * offer.weight_factor) + cache + workspace + offer.fixed_bytes


def run_ms(problem, offer: int) -> float:
    """Milliseconds that the whole model would take on an offer, with what other models leave of its time."""
    offer = problem.offers[offer]
    cost = offer.cost
    ms = cost.fixed_ms + cost.weight_mb_ms * weight_bytes(problem, 0, len(problem.blocks)) / 1e6
    ms += cost.gflop_ms * sum(block.flops for block in problem.blocks) / 1e9
    ms += cost.activation_mb_ms * sum(block.activation_bytes for block in problem.blocks) / 1e6
    return ms / (1.0 - min(offer.busy_ratio, 0.99))


def remaining(problem, offer: int, stages) -> float:
    """Bytes left on an offer. Offers of one device with the same pool share memory."""

    def pool(index):
        return problem.offers[index].device, problem.offers[index].memory_pool

    used = sum(need(problem, stage.offer, stage.start, stage.end) for stage in stages if pool(stage.offer) == pool(offer))
    return problem.offers[offer].memory_bytes - used


def may_hold(problem, offer: int, start: int, end: int) -> bool:
    """Whether an offer may hold blocks start..end: its roles, and what was refused on loading before."""
    roles = problem.offers[offer].roles
    first, last = start == 0, end == len(problem.blocks)
    if (first and Roles.HEAD not in roles) or (last and Roles.TAIL not in roles):
        return False
    if not first and not last and Roles.BODY not in roles:
        return False
    return all((refused.offer, refused.start, refused.end) != (offer, start, end) for refused in problem.exclusions)


def longest(problem, offer: int, start: int, stages) -> int | None:
    """The end of the longest range from `start` on that an offer can take."""
    blocks, count, placement = len(problem.blocks), len(stages) + 1, problem.placement
    # Each further stage that the placement asks for needs a block of its own.
    end_max = blocks - max(placement.stages_min - count, 0)
    end_min = blocks if count >= placement.stages_max else start + 1
    free_bytes = remaining(problem, offer, stages)
    for end in range(end_max, end_min - 1, -1):
        if may_hold(problem, offer, start, end) and need(problem, offer, start, end) <= free_bytes:
            return end
    return None


def shortfall(problem, start: int) -> Refusal:
    """Says which blocks found no place, and what the offer lacks that is nearest to being enough."""
    blocks = len(problem.blocks)
    reason = f"blocks [{start}..{blocks}) of {problem.model} found no place"
    if not problem.offers:
        return Refusal(reason, None, 0.0)
    lack = [max(need(problem, index, start, blocks) - offer.memory_bytes, 0.0) for index, offer in enumerate(problem.offers)]
    nearest = lack.index(min(lack))
    if lack[nearest] > 0:
        offer = problem.offers[nearest]
        reason += f": they need {offer.memory_bytes + lack[nearest]:.0f} bytes on {offer.id}, it has {offer.memory_bytes:.0f}"
    return Refusal(reason, nearest, lack[nearest])
