// Written by `host plugin build`, and removed when the plugin is built: exports what policy.js does, and sees what it throws.
import { begin, tell } from './console.js';
import * as policy from '../policy.js';

function watched(name) {
  const exported = policy[name];
  if (typeof exported !== 'object' || exported === null) throw new Error(`policy.js exports no object \`${name}\`, which the contract asks for`);
  const functions = {};
  for (let from = exported; from !== null && from !== Object.prototype; from = Object.getPrototypeOf(from)) {
    for (const each of Object.getOwnPropertyNames(from)) {
      if (!(each in functions) && typeof exported[each] === 'function') functions[each] = around(exported, exported[each]);
    }
  }
  return functions;
}

function around(self, call) {
  return (...given) => {
    begin();
    try {
      return call.apply(self, given);
    } catch (thrown) {
      tell(thrown);
      throw thrown;
    }
  };
}

export const plugin = watched('plugin');
export const {{kind}} = watched('{{kind}}');
