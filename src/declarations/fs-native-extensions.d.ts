/** The part of fs-native-extensions that Wormhole uses; the package ships no types. */
declare module 'fs-native-extensions' {
  const extensions: {
    /** Takes an exclusive advisory lock (OFD lock); false when somebody else holds it. */
    tryLock(descriptor: number): boolean
    unlock(descriptor: number): void
    /** Frees the blocks of a range. */
    trimSync(descriptor: number, offset: number, length: number): void
  }
  export default extensions
}
