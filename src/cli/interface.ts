/** Reports that the command line makes itself, beside those of daemon/interface.ts. Types only. */

/** `wormhole doctor`. */
export interface DoctorReport {
  /** No check failed; warnings are allowed. */
  isHealthy: boolean
  checks: Check[]
}

/** One check of the doctor. */
export interface Check {
  name: string
  state: 'ok' | 'warning' | 'failed'
  message: string
  /** What to do; absent when all is well. */
  advice?: string
}

/** `wormhole put` and `get`. */
export interface TransferReport {
  files: number
  directories: number
  bytes: number
  /** What could not be carried over (symbolic links, devices), with the reason. */
  skipped: { path: string; reason: string }[]
}

/** `wormhole service install` and `uninstall`. */
export interface ServiceReport {
  /** The unit file. */
  file: string
  scope: 'system' | 'user'
  /** Whether anything was written or removed. */
  isChanged: boolean
  /** What to run next, in order. */
  commands: string[]
}

/** `wormhole version`. */
export interface VersionReport {
  version: string
  node: string
  platform: string
}

/** `wormhole bootstrap`, printed when it listens. */
export interface BootstrapReport {
  host: string
  port: number
}

/** `wormhole down`. */
export interface DownReport {
  /** False: it was not running. */
  isStopped: boolean
  pid?: number
  /** Dead mounts of a daemon that had been killed, detached now. */
  detached?: string[]
}
