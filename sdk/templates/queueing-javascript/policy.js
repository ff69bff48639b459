// {{name}}: requests wait in order of arrival. One that would be late even if it were served now is refused.
//
// The waiting line itself is the host's; a policy ranks what arrives. The same arrival must always give the same answer:
// nothing is kept between calls.

export const plugin = {
  configure(config) {
    // This plugin has no settings: `{}` is all that it accepts. What is thrown is the error.
    if (config !== '' && config !== '{}') throw `{{name}} has no settings, but was given ${config}`;
  },
};

export const queueing = {
  admit(arrival) {
    const waiting = arrival.classes.reduce((total, line) => total + line.depth, 0);
    if (waiting >= arrival.depthMax) return refuse(`${waiting} requests wait, at most ${arrival.depthMax} may`);
    if (arrival.deadlineMs > 0 && arrival.expectedMs > arrival.deadlineMs) {
      return refuse(`the answer takes ${Math.round(arrival.expectedMs)} ms, the deadline is in ${Math.round(arrival.deadlineMs)} ms`);
    }
    // The smallest rank is served first: order of arrival.
    return { tag: 'admit', val: arrival.nowMs };
  },
};

// The client is told at once that the host is busy.
function refuse(reason) {
  return { tag: 'refuse', val: { reason, nearest: undefined, shortBytes: 0 } };
}
