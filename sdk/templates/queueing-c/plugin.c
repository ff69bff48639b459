// {{name}}: requests wait in order of arrival. One that would be late even if it were served now is refused.
//
// The waiting line itself is the host's; a policy ranks what arrives. The same arrival must always give the same answer:
// nothing is kept between calls.
//
// Who frees what: a function owns its arguments and frees them; the host frees what it is given, through generated code.
#include <stdio.h>
#include <string.h>

#include "bindings/queueing_policy.h"

// Long generated names, shortened.
typedef exports_shardhost_plugin_queueing_arrival_t arrival_t;
typedef exports_shardhost_plugin_queueing_decision_t decision_t;

bool exports_shardhost_plugin_plugin_configure(queueing_policy_string_t *config, queueing_policy_string_t *err) {
    // This plugin has no settings: `{}` is all that it accepts.
    bool good = config->len <= 2;
    if (!good) queueing_policy_string_dup(err, "{{name}} has no settings");
    queueing_policy_string_free(config);
    return good;
}

static void refuse(decision_t *ret, const char *reason) {
    memset(ret, 0, sizeof *ret);
    ret->tag = EXPORTS_SHARDHOST_PLUGIN_QUEUEING_DECISION_REFUSE;
    queueing_policy_string_dup(&ret->val.refuse.reason, reason);
}

void exports_shardhost_plugin_queueing_admit(arrival_t *arrival, decision_t *ret) {
    char reason[200];
    uint32_t waiting = 0;
    for (size_t i = 0; i < arrival->classes.len; i++) waiting += arrival->classes.ptr[i].depth;
    if (waiting >= arrival->depth_max) {
        snprintf(reason, sizeof reason, "%u requests wait, at most %u may", (unsigned)waiting, (unsigned)arrival->depth_max);
        refuse(ret, reason);
    } else if (arrival->deadline_ms > 0 && arrival->expected_ms > arrival->deadline_ms) {
        snprintf(reason, sizeof reason, "the answer takes %.0f ms, the deadline is in %.0f ms", arrival->expected_ms, arrival->deadline_ms);
        refuse(ret, reason);
    } else {
        // The smallest rank is served first: order of arrival.
        ret->tag = EXPORTS_SHARDHOST_PLUGIN_QUEUEING_DECISION_ADMIT;
        ret->val.admit = arrival->now_ms;
    }
    exports_shardhost_plugin_queueing_arrival_free(arrival);
}
