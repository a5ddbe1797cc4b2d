/** Tells the story on standard output, and remembers whether every check held. */

/** A check that did not hold. */
export class CheckFailed extends Error {}

/** What is printed while the story runs. */
export class Narrator {
  readonly #isColoured: boolean
  #chapterCount = 0
  #checkCount = 0

  constructor(options: { isColoured: boolean }) {
    this.#isColoured = options.isColoured
  }

  /** Checks that held so far. */
  get checkCount(): number {
    return this.#checkCount
  }

  #paint(code: number, text: string): string {
    return this.#isColoured ? `\x1b[${code}m${text}\x1b[0m` : text
  }

  /** Starts the next part of the story. */
  chapter(title: string): void {
    this.#chapterCount++
    console.log(`\n${this.#paint(1, `${this.#chapterCount}. ${title}`)}`)
  }

  /** What is being done or seen. */
  say(text: string): void {
    console.log(`   ${text}`)
  }

  /** A command as a user would type it. */
  command(device: string, words: readonly string[]): void {
    console.log(`   ${this.#paint(36, `${device}$ wormhole ${words.join(' ')}`)}`)
  }

  /** @throws CheckFailed when `isTrue` is not; `facts` say why. */
  check(text: string, isTrue: boolean, facts = ''): void {
    if (!isTrue) throw new CheckFailed(facts === '' ? text : `${text}\n${facts}`)
    this.#checkCount++
    console.log(`   ${this.#paint(32, '✓')} ${text}`)
  }

  /** What ended the story early. */
  fail(error: unknown): void {
    const text = error instanceof CheckFailed ? error.message : String((error as Error).stack)
    console.log(`   ${this.#paint(31, '✗')} ${text.replaceAll('\n', '\n     ')}`)
  }
}
