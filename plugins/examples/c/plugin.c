// fewest-outstanding-c: sends each request to the complete replica with the fewest requests on their way; replicas that tie take turns.
//
// The host keeps several instances of this plugin and asks whichever is free. So an answer may depend on the topology, the
// pressures and the request, and on nothing else: no counter, no clock, no randomness of its own.
//
// Who frees what: a function owns its arguments and frees them; the host frees what it is given, through generated code.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/routing_policy.h"

// Long generated names, shortened.
typedef exports_shardhost_plugin_routing_topology_t topology_t;
typedef exports_shardhost_plugin_routing_served_model_t model_t;
typedef exports_shardhost_plugin_routing_segment_t segment_t;
typedef exports_shardhost_plugin_routing_list_pressure_t pressures_t;
typedef exports_shardhost_plugin_routing_route_request_t request_t;
typedef exports_shardhost_plugin_routing_refusal_t refusal_t;

// Indexes into a model's segments that cover every block once and in order.
typedef struct {
    uint32_t *segments;
    size_t length;
} path_t;

// The complete replicas of one model. `order` holds the indexes that the paths point to.
typedef struct {
    path_t *paths;
    size_t count;
    uint32_t *order;
} paths_t;

// The newest topology, and the complete replicas of each of its models.
static topology_t topology;
static paths_t *paths_of;

bool exports_shardhost_plugin_plugin_configure(routing_policy_string_t *config, routing_policy_string_t *err) {
    // This plugin has no settings: `{}` is all that it accepts.
    bool good = config->len <= 2;
    if (!good) routing_policy_string_dup(err, "fewest-outstanding-c has no settings");
    routing_policy_string_free(config);
    return good;
}

// The model whose segments are being sorted: `qsort` hands nothing of ours to its comparison.
static const model_t *sorted_model;

static int by_replica_and_stage(const void *left, const void *right) {
    const segment_t *a = &sorted_model->segments.ptr[*(const uint32_t *)left];
    const segment_t *b = &sorted_model->segments.ptr[*(const uint32_t *)right];
    if (a->replica != b->replica) return a->replica < b->replica ? -1 : 1;
    if (a->stage != b->stage) return a->stage < b->stage ? -1 : 1;
    return 0;
}

// Whether the segments order[start..end) cover every block of the model once.
static bool is_complete(const model_t *model, const uint32_t *order, size_t start, size_t end) {
    uint32_t next = 0;
    for (size_t i = start; i < end; i++) {
        const segment_t *segment = &model->segments.ptr[order[i]];
        if (segment->start != next || segment->end <= next) return false;
        next = segment->end;
    }
    return next == model->blocks && next > 0;
}

static paths_t complete_replicas(const model_t *model) {
    size_t count = model->segments.len;
    uint32_t *order = malloc((count + 1) * sizeof *order);
    path_t *paths = malloc((count + 1) * sizeof *paths);
    if (!order || !paths) abort();
    for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
    sorted_model = model;
    qsort(order, count, sizeof *order, by_replica_and_stage);

    size_t found = 0;
    for (size_t start = 0, end; start < count; start = end) {
        uint32_t replica = model->segments.ptr[order[start]].replica;
        for (end = start; end < count && model->segments.ptr[order[end]].replica == replica; end++) {}
        // A replica with a stage that is not ready is left out.
        if (is_complete(model, order, start, end)) paths[found++] = (path_t){order + start, end - start};
    }
    return (paths_t){paths, found, order};
}

// Called for each plan, before the first `route`: the place for work that `route` should not repeat.
void exports_shardhost_plugin_routing_set_topology(topology_t *newest) {
    for (size_t i = 0; i < topology.models.len; i++) {
        free(paths_of[i].paths);
        free(paths_of[i].order);
    }
    free(paths_of);
    exports_shardhost_plugin_routing_topology_free(&topology);
    topology = *newest;
    paths_of = malloc((topology.models.len + 1) * sizeof *paths_of);
    if (!paths_of) abort();
    for (size_t i = 0; i < topology.models.len; i++) paths_of[i] = complete_replicas(&topology.models.ptr[i]);
}

// How hard each device works. Not needed here.
void exports_shardhost_plugin_routing_set_pressure(pressures_t *pressures) {
    exports_shardhost_plugin_routing_list_pressure_free(pressures);
}

// Requests on their way over a path.
static uint64_t outstanding(const path_t *path, const request_t *request) {
    uint64_t sum = 0;
    for (size_t i = 0; i < path->length; i++) {
        uint32_t segment = path->segments[i];
        if (segment < request->outstanding.len) sum += request->outstanding.ptr[segment];
    }
    return sum;
}

// A refusal is an honest answer: the client is told that no device can take the request.
static bool refuse(request_t *request, refusal_t *err, const char *reason) {
    memset(err, 0, sizeof *err);
    routing_policy_string_dup(&err->reason, reason);
    exports_shardhost_plugin_routing_route_request_free(request);
    return false;
}

bool exports_shardhost_plugin_routing_route(request_t *request, routing_policy_list_u32_t *ret, refusal_t *err) {
    char reason[200];
    if (request->model >= topology.models.len) {
        snprintf(reason, sizeof reason, "model %u is not in the topology, which has %u models", (unsigned)request->model, (unsigned)topology.models.len);
        return refuse(request, err, reason);
    }
    const model_t *model = &topology.models.ptr[request->model];
    const paths_t *paths = &paths_of[request->model];

    // The fewest requests on their way, and how many replicas have that few.
    uint64_t fewest = UINT64_MAX;
    size_t ties = 0;
    for (size_t i = 0; i < paths->count; i++) {
        uint64_t load = outstanding(&paths->paths[i], request);
        if (load < fewest) {
            fewest = load;
            ties = 0;
        }
        ties += load == fewest;
    }
    if (ties == 0) {
        snprintf(reason, sizeof reason, "model %.*s has no complete replica, %u segments are ready", (int)model->id.len, (const char *)model->id.ptr,
                 (unsigned)model->segments.len);
        return refuse(request, err, reason);
    }

    // The request's ordinal counts up: the only way to take turns.
    size_t turn = request->ordinal % ties;
    const path_t *chosen = NULL;
    for (size_t i = 0; i < paths->count && !chosen; i++) {
        if (outstanding(&paths->paths[i], request) == fewest && turn-- == 0) chosen = &paths->paths[i];
    }
    ret->len = chosen->length;
    ret->ptr = malloc(chosen->length * sizeof *ret->ptr);
    if (!ret->ptr) abort();
    memcpy(ret->ptr, chosen->segments, chosen->length * sizeof *ret->ptr);
    exports_shardhost_plugin_routing_route_request_free(request);
    return true;
}
