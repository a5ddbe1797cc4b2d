// Moves the wall clock of a process and of its threads by WORMHOLE_TEST_LATER_MS, before anything
// else runs: `NODE_OPTIONS='--require …/later.cjs'`.
const laterMs = Number(process.env.WORMHOLE_TEST_LATER_MS ?? 0)
const { now } = Date
Date.now = () => now() + laterMs
