/**
 * The part of the WebAssembly JavaScript interface that Wormhole uses; es2023 has no types for
 * it.
 */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array)
  }
  class Instance {
    constructor(module: Module, imports?: object)
    readonly exports: Record<string, unknown>
  }
}
