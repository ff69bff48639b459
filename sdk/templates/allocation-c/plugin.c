// {{name}}: fills the offers from the fastest to the slowest, each with as many blocks as fit, until the model is placed.
// One replica, no second thoughts. What does not fit is refused in words.
//
// The same problem must always give the same answer: no clock, no randomness, nothing kept between calls.
//
// Who frees what: a function owns its arguments and frees them; the host frees what it is given, through generated code.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/allocation_policy.h"

// Long generated names, shortened.
typedef exports_shardhost_plugin_allocation_problem_t problem_t;
typedef exports_shardhost_plugin_allocation_shared_weight_t shared_weight_t;
typedef exports_shardhost_plugin_allocation_offer_t offer_t;
typedef exports_shardhost_plugin_allocation_stage_t stage_t;
typedef exports_shardhost_plugin_allocation_exclusion_t exclusion_t;

bool exports_shardhost_plugin_plugin_configure(allocation_policy_string_t *config, allocation_policy_string_t *err) {
    // This plugin has no settings: `{}` is all that it accepts.
    bool good = config->len <= 2;
    if (!good) allocation_policy_string_dup(err, "{{name}} has no settings");
    allocation_policy_string_free(config);
    return good;
}

// Bytes of weights in blocks start..end. A weight that several of them share counts once.
static double weight_bytes(const problem_t *problem, uint32_t start, uint32_t end) {
    double bytes = 0;
    for (uint32_t b = start; b < end; b++) bytes += problem->blocks.ptr[b].weight_bytes;
    for (size_t w = 0; w < problem->shared_weights.len; w++) {
        const shared_weight_t *shared = &problem->shared_weights.ptr[w];
        for (size_t i = 0; i < shared->blocks.len; i++) {
            if (shared->blocks.ptr[i] >= start && shared->blocks.ptr[i] < end) {
                bytes += shared->bytes;
                break;
            }
        }
    }
    return bytes;
}

// Bytes that blocks start..end take on an offer: weights, attention cache, the largest workspace, and the fixed part. The
// host computes the same number when it checks the answer.
static double need(const problem_t *problem, uint32_t offer, uint32_t start, uint32_t end) {
    double cache = 0, workspace = 0;
    for (uint32_t b = start; b < end; b++) {
        cache += problem->blocks.ptr[b].kv_bytes_per_token * problem->sequences * problem->tokens;
        workspace = fmax(workspace, problem->blocks.ptr[b].workspace_bytes);
    }
    const offer_t *o = &problem->offers.ptr[offer];
    return ceil(weight_bytes(problem, start, end) * o->weight_factor) + cache + workspace + o->fixed_bytes;
}

// Milliseconds that the whole model would take on an offer, with what other models leave of its time.
static double run_ms(const problem_t *problem, uint32_t offer) {
    const offer_t *o = &problem->offers.ptr[offer];
    double flops = 0, activations = 0;
    for (size_t b = 0; b < problem->blocks.len; b++) {
        flops += problem->blocks.ptr[b].flops;
        activations += problem->blocks.ptr[b].activation_bytes;
    }
    double ms = o->cost.gflop_ms * flops / 1e9 + o->cost.weight_mb_ms * weight_bytes(problem, 0, (uint32_t)problem->blocks.len) / 1e6 +
                o->cost.activation_mb_ms * activations / 1e6 + o->cost.fixed_ms;
    return ms / (1.0 - fmin(o->busy_ratio, 0.99));
}

// Bytes left on an offer. Offers of one device with the same pool share memory.
static double remaining(const problem_t *problem, uint32_t offer, const stage_t *stages, size_t placed) {
    const offer_t *o = &problem->offers.ptr[offer];
    double bytes = o->memory_bytes;
    for (size_t s = 0; s < placed; s++) {
        const offer_t *other = &problem->offers.ptr[stages[s].offer];
        if (other->device == o->device && other->memory_pool == o->memory_pool) bytes -= need(problem, stages[s].offer, stages[s].start, stages[s].end);
    }
    return bytes;
}

// Whether an offer may hold blocks start..end: its roles, and what was refused on loading before.
static bool may_hold(const problem_t *problem, uint32_t offer, uint32_t start, uint32_t end) {
    bool first = start == 0, last = end == problem->blocks.len;
    uint8_t roles = problem->offers.ptr[offer].roles;
    if (first && !(roles & EXPORTS_SHARDHOST_PLUGIN_ALLOCATION_ROLES_HEAD)) return false;
    if (last && !(roles & EXPORTS_SHARDHOST_PLUGIN_ALLOCATION_ROLES_TAIL)) return false;
    if (!first && !last && !(roles & EXPORTS_SHARDHOST_PLUGIN_ALLOCATION_ROLES_BODY)) return false;
    for (size_t i = 0; i < problem->exclusions.len; i++) {
        const exclusion_t *refused = &problem->exclusions.ptr[i];
        if (refused->offer == offer && refused->start == start && refused->end == end) return false;
    }
    return true;
}

// The end of the longest range from `start` on that an offer can take; 0 if there is none.
static uint32_t longest(const problem_t *problem, uint32_t offer, uint32_t start, const stage_t *stages, size_t placed) {
    uint32_t blocks = (uint32_t)problem->blocks.len, count = (uint32_t)placed + 1;
    uint32_t missing = problem->placement.stages_min > count ? problem->placement.stages_min - count : 0;
    uint32_t end_min = count >= problem->placement.stages_max ? blocks : start + 1;
    double free_bytes = remaining(problem, offer, stages, placed);
    // Each further stage that the placement asks for needs a block of its own.
    for (uint32_t end = blocks > missing ? blocks - missing : 0; end >= end_min; end--) {
        if (may_hold(problem, offer, start, end) && need(problem, offer, start, end) <= free_bytes) return end;
    }
    return 0;
}

// Says which blocks found no place, and what the offer lacks that is nearest to being enough.
static void refuse(const problem_t *problem, uint32_t start, exports_shardhost_plugin_allocation_refusal_t *err) {
    uint32_t blocks = (uint32_t)problem->blocks.len;
    char reason[300];
    memset(err, 0, sizeof *err);
    double least = INFINITY;
    for (uint32_t o = 0; o < problem->offers.len; o++) {
        double lack = fmax(need(problem, o, start, blocks) - problem->offers.ptr[o].memory_bytes, 0);
        if (lack < least) {
            least = lack;
            err->nearest = (allocation_policy_option_u32_t){true, o};
        }
    }
    int length = snprintf(reason, sizeof reason, "blocks [%u..%u) of %.*s found no place", (unsigned)start, (unsigned)blocks, (int)problem->model.len,
                          (const char *)problem->model.ptr);
    if (err->nearest.is_some && least > 0 && length > 0 && (size_t)length < sizeof reason) {
        const offer_t *nearest = &problem->offers.ptr[err->nearest.val];
        err->short_bytes = least;
        snprintf(reason + length, sizeof reason - (size_t)length, ": they need %.0f bytes on %.*s, it has %.0f", nearest->memory_bytes + least,
                 (int)nearest->id.len, (const char *)nearest->id.ptr, nearest->memory_bytes);
    }
    allocation_policy_string_dup(&err->reason, reason);
}

// Fills `order` with the offers from the fastest to the slowest; equals stay in order of their ids.
static void fastest_first(const problem_t *problem, uint32_t *order) {
    for (uint32_t o = 0; o < problem->offers.len; o++) {
        uint32_t place = o;
        for (; place > 0 && run_ms(problem, order[place - 1]) > run_ms(problem, o); place--) order[place] = order[place - 1];
        order[place] = o;
    }
}

bool exports_shardhost_plugin_allocation_allocate(problem_t *problem, exports_shardhost_plugin_allocation_proposal_t *ret,
                                                  exports_shardhost_plugin_allocation_refusal_t *err) {
    size_t offers = problem->offers.len, placed = 0;
    uint32_t *order = malloc((offers + 1) * sizeof *order);
    bool *used = calloc(offers + 1, sizeof *used);
    stage_t *stages = malloc((offers + 1) * sizeof *stages);
    if (!order || !used || !stages) abort();
    fastest_first(problem, order);

    uint32_t next = 0;
    bool stuck = false;
    while (next < problem->blocks.len && !stuck) {
        stuck = true;
        for (size_t i = 0; i < offers && stuck; i++) {
            uint32_t offer = order[i];
            uint32_t end = used[offer] ? 0 : longest(problem, offer, next, stages, placed);
            if (end == 0) continue;
            stages[placed++] = (stage_t){offer, next, end};
            used[offer] = true;
            next = end;
            stuck = false;
        }
    }
    free(order);
    free(used);

    memset(ret, 0, sizeof *ret);
    if (stuck) {
        free(stages);
        refuse(problem, next, err);
    } else {
        ret->replicas.ptr = malloc(sizeof *ret->replicas.ptr);
        if (!ret->replicas.ptr) abort();
        ret->replicas.len = 1;
        ret->replicas.ptr[0].stages.ptr = stages;
        ret->replicas.ptr[0].stages.len = placed;
    }
    exports_shardhost_plugin_allocation_problem_free(problem);
    return !stuck;
}

// Whether the plan in force should be made again. This policy would only repeat itself.
void exports_shardhost_plugin_allocation_review(exports_shardhost_plugin_allocation_observation_t *observed,
                                                exports_shardhost_plugin_allocation_verdict_t *ret) {
    exports_shardhost_plugin_allocation_observation_free(observed);
    ret->tag = EXPORTS_SHARDHOST_PLUGIN_ALLOCATION_VERDICT_KEEP;
}
