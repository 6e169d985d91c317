// Loads a module of the sources as it is, without a build.
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

export async function load(module) {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const { module: loaded } = await runnerImport(fileURLToPath(new URL(`../src/${module}`, import.meta.url)), { root, configFile: false, logLevel: 'error' });
  return loaded;
}

/** A generator of numbers from 0 to 1, the same for the same seed. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
