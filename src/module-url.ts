/**
 * Where a sibling module lies at run time, for `new Worker(...)`, which (unlike `import`) neither
 * has its file ending rewritten by the compiler nor inherits the loader that tests run under.
 */

/**
 * The URL to start a worker thread from the module `name` beside the calling module.
 *
 * Compiled code gets `<name>.js`. Code that runs from source (tests and scripts) gets a one-line
 * `data:` module that imports what lets the new thread import TypeScript, and then `<name>.ts`.
 *
 * @param callerUrl - the caller's `import.meta.url`.
 * @param name - relative path without its ending, such as `./worker`.
 */
export function siblingModule(callerUrl: string, name: string): URL {
  const { pathname } = new URL(callerUrl)
  if (!pathname.endsWith('.ts')) return new URL(`${name}.js`, callerUrl)
  const target = new URL(`${name}.ts`, callerUrl)
  const loader = new URL('../scripts/typescript.mjs', import.meta.url)
  const boot = `import ${JSON.stringify(loader.href)}\nawait import(${JSON.stringify(target.href)})`
  return new URL(`data:text/javascript,${encodeURIComponent(boot)}`)
}
