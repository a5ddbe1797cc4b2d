/**
 * libsodium. Loaded by `require`: for an `import` Node 20 first reads all of a CommonJS module for
 * its names, which with this one costs 40 ms of CPU in every thread.
 */
import { createRequire } from 'node:module'
import type { Sodium } from 'sodium-native'

/** See the head of this file. */
export const sodium = createRequire(import.meta.url)('sodium-native') as Sodium
