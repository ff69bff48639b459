// {{name}}: sends each request to the complete replica with the fewest requests on their way; replicas that tie take turns.
//
// The host keeps several instances of this plugin and asks whichever is free. So an answer may depend on the topology, the
// pressures and the request, and on nothing else: no counter, no clock, no randomness of its own.

let models = [];
let pathsOf = [];

export const plugin = {
  configure(config) {
    // This plugin has no settings: `{}` is all that it accepts. What is thrown is the error.
    if (config !== '' && config !== '{}') throw `{{name}} has no settings, but was given ${config}`;
  },
};

export const routing = {
  // Called for each plan, before the first `route`: the place for work that `route` should not repeat.
  setTopology(topology) {
    models = topology.models;
    pathsOf = topology.models.map(completeReplicas);
  },

  // How hard each device works. Not needed here.
  setPressure(pressures) {},

  route(request) {
    const model = models[request.model];
    if (!model) throw refusal(`model ${request.model} is not in the topology, which has ${models.length} models`);
    const paths = pathsOf[request.model];
    if (paths.length === 0) throw refusal(`model ${model.id} has no complete replica, ${model.segments.length} segments are ready`);
    let fewest = Infinity;
    let best = [];
    for (const path of paths) {
      let load = 0;
      for (const segment of path) load += request.outstanding[segment];
      if (load < fewest) {
        fewest = load;
        best = [];
      }
      if (load === fewest) best.push(path);
    }
    // The request's ordinal counts up: the only way to take turns.
    return best[request.ordinal % best.length];
  },
};

// Paths, one for each replica whose segments cover every block once and in order. A replica with a stage that is not ready is
// left out.
function completeReplicas(model) {
  const replicas = new Map();
  model.segments.forEach((segment, index) => {
    if (!replicas.has(segment.replica)) replicas.set(segment.replica, []);
    replicas.get(segment.replica).push(index);
  });
  const numbers = [...replicas.keys()].sort((a, b) => a - b);
  const paths = numbers.map((number) => replicas.get(number).sort((a, b) => model.segments[a].stage - model.segments[b].stage));
  return paths.filter((path) => covers(model, path));
}

function covers(model, path) {
  let next = 0;
  for (const index of path) {
    const { start, end } = model.segments[index];
    if (start !== next || end <= next) return false;
    next = end;
  }
  return next === model.blocks;
}

// An honest no: the client is told that no device can take the request.
function refusal(reason) {
  return { reason, nearest: undefined, shortBytes: 0 };
}
