// {{name}}: fills the offers from the fastest to the slowest, each with as many blocks as fit, until the model is placed.
// One replica, no second thoughts. What does not fit is refused in words.
//
// The same problem must always give the same answer: no clock, no randomness, nothing kept between calls.

export const plugin = {
  configure(config) {
    // This plugin has no settings: `{}` is all that it accepts. What is thrown is the error.
    if (config !== '' && config !== '{}') throw `{{name}} has no settings, but was given ${config}`;
  },
};

export const allocation = {
  allocate(problem) {
    const time = problem.offers.map((offer) => runMs(problem, offer));
    const fastestFirst = problem.offers.map((_, index) => index).sort((a, b) => time[a] - time[b] || a - b);
    const stages = [];
    let start = 0;
    while (start < problem.blocks.length) {
      const stage = nextStage(problem, fastestFirst, start, stages);
      if (!stage) throw shortfall(problem, start);
      stages.push(stage);
      start = stage.end;
    }
    return { replicas: [{ stages }], bound: 0, attributes: [] };
  },

  // Whether the plan in force should be made again. This policy would only repeat itself.
  review(observed) {
    return { tag: 'keep' };
  },
};

function nextStage(problem, fastestFirst, start, stages) {
  for (const offer of fastestFirst) {
    if (stages.some((stage) => stage.offer === offer)) continue;
    const end = longest(problem, offer, start, stages);
    if (end > 0) return { offer, start, end };
  }
  return undefined;
}

function sum(items, value) {
  return items.reduce((total, item) => total + value(item), 0);
}

// Bytes of weights in blocks start..end. A weight that several of them share counts once.
function weightBytes(problem, start, end) {
  const own = sum(problem.blocks.slice(start, end), (block) => block.weightBytes);
  const shared = problem.sharedWeights.filter((weight) => Array.from(weight.blocks).some((block) => start <= block && block < end));
  return own + sum(shared, (weight) => weight.bytes);
}

// Bytes that blocks start..end take on an offer: weights, attention cache, the largest workspace, and the fixed part. The host
// computes the same number when it checks the answer.
function need(problem, index, start, end) {
  const offer = problem.offers[index];
  const blocks = problem.blocks.slice(start, end);
  const cache = sum(blocks, (block) => block.kvBytesPerToken) * problem.sequences * problem.tokens;
  const workspace = Math.max(0, ...blocks.map((block) => block.workspaceBytes));
  return Math.ceil(weightBytes(problem, start, end) * offer.weightFactor) + cache + workspace + offer.fixedBytes;
}

// Milliseconds that the whole model would take on an offer, with what other models leave of its time.
function runMs(problem, offer) {
  const { cost, busyRatio } = offer;
  const flops = sum(problem.blocks, (block) => block.flops);
  const activations = sum(problem.blocks, (block) => block.activationBytes);
  const weights = weightBytes(problem, 0, problem.blocks.length);
  const ms = (cost.gflopMs * flops) / 1e9 + (cost.weightMbMs * weights) / 1e6 + (cost.activationMbMs * activations) / 1e6 + cost.fixedMs;
  return ms / (1 - Math.min(busyRatio, 0.99));
}

// Bytes left on an offer. Offers of one device with the same pool share memory.
function remaining(problem, index, stages) {
  const offer = problem.offers[index];
  const shares = (stage) => problem.offers[stage.offer].device === offer.device && problem.offers[stage.offer].memoryPool === offer.memoryPool;
  return offer.memoryBytes - sum(stages.filter(shares), (stage) => need(problem, stage.offer, stage.start, stage.end));
}

// Whether an offer may hold blocks start..end: its roles, and what was refused on loading before.
function mayHold(problem, offer, start, end) {
  const { roles } = problem.offers[offer];
  const [first, last] = [start === 0, end === problem.blocks.length];
  if ((first && !roles.head) || (last && !roles.tail) || (!first && !last && !roles.body)) return false;
  return !problem.exclusions.some((refused) => refused.offer === offer && refused.start === start && refused.end === end);
}

// The end of the longest range from `start` on that an offer can take; 0 if there is none.
function longest(problem, offer, start, stages) {
  const { placement, blocks } = problem;
  const count = stages.length + 1;
  // Each further stage that the placement asks for needs a block of its own.
  const endMax = blocks.length - Math.max(placement.stagesMin - count, 0);
  const endMin = count >= placement.stagesMax ? blocks.length : start + 1;
  const free = remaining(problem, offer, stages);
  for (let end = endMax; end >= endMin; end--) {
    if (mayHold(problem, offer, start, end) && need(problem, offer, start, end) <= free) return end;
  }
  return 0;
}

// Says which blocks found no place, and what the offer lacks that is nearest to being enough.
function shortfall(problem, start) {
  const blocks = problem.blocks.length;
  const lack = problem.offers.map((offer, index) => Math.max(need(problem, index, start, blocks) - offer.memoryBytes, 0));
  const shortBytes = Math.min(...lack);
  const nearest = lack.indexOf(shortBytes);
  const reason = `blocks [${start}..${blocks}) of ${problem.model} found no place`;
  if (nearest < 0) return { reason, nearest: undefined, shortBytes: 0 };
  if (shortBytes === 0) return { reason, nearest, shortBytes };
  const { id, memoryBytes } = problem.offers[nearest];
  return { reason: `${reason}: they need ${memoryBytes + shortBytes} bytes on ${id}, it has ${memoryBytes}`, nearest, shortBytes };
}
