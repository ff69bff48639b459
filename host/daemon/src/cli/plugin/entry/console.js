// Written by `host plugin build`, and removed when the plugin is built: what a policy prints becomes lines of its log.
import { write } from 'shardhost:plugin/log';

// While a plugin is built there is no log: what is printed then becomes the first lines of each instance.
let waiting = [];

export function begin() {
  if (waiting === undefined) return;
  const lines = waiting;
  waiting = undefined;
  for (const [level, line] of lines) write(level, line);
}

// A policy throws its refusals and its error in `configure`. Anything that is an Error is a mistake, and nobody else would say which.
export function tell(thrown) {
  if (thrown instanceof Error) write('error', text(thrown));
}

function text(value) {
  if (typeof value === 'string') return value;
  if (value instanceof Error) return `${value}\n${value.stack ?? ''}`.trimEnd();
  if (typeof value !== 'object') return String(value);
  try {
    return JSON.stringify(value);
  } catch {
    return String(value);
  }
}

function printing(level) {
  return (...values) => {
    for (const line of values.map(text).join(' ').split('\n')) {
      if (waiting === undefined) write(level, line);
      else waiting.push([level, line]);
    }
  };
}

const info = printing('info');
globalThis.console = { debug: printing('debug'), log: info, info, warn: printing('warn'), error: printing('error') };
