/** `wormhole completion`: scripts that complete commands and options, made from the table. */
import { EXIT_DONE, type Context } from '../context.ts'
import { COMMON_OPTIONS, GROUPS, type CommandSpec, type OptionSpec } from '../table.ts'

/** Prints the script for a shell. */
export async function completion(context: Context, [shell]: [string]): Promise<number> {
  await context.print(completionScript(shell as Shell))
  return EXIT_DONE
}

/** Shells that scripts are made for. */
export type Shell = 'bash' | 'zsh' | 'fish'

interface Node {
  /** Words before it, as in `conflicts resolve`; empty for the program. */
  readonly path: string
  readonly about: string
  readonly words: { word: string; about: string }[]
  readonly flags: { word: string; about: string; takesValue: boolean; choices: string[] }[]
}

/** The script for one shell, without a final line end. */
export function completionScript(shell: Shell): string {
  const nodes = listNodes()
  if (shell === 'bash') return bashScript(nodes)
  return shell === 'zsh' ? zshScript(nodes) : fishScript(nodes)
}

function listNodes(): Node[] {
  const top = GROUPS.flatMap(({ commands }) => commands)
  const nodes: Node[] = [makeNode('', '', { name: '', about: '', commands: top })]
  const visit = (spec: CommandSpec, before: string): void => {
    if (spec.isHidden) return
    const path = before === '' ? spec.name : `${before} ${spec.name}`
    nodes.push(makeNode(path, spec.about, spec))
    for (const inner of spec.commands ?? []) visit(inner, path)
  }
  for (const spec of top) visit(spec, '')
  return nodes
}

function makeNode(path: string, about: string, spec: CommandSpec): Node {
  const choices = (spec.arguments ?? []).flatMap(({ choices: each }) => each ?? [])
  return {
    path,
    about,
    words: [
      ...(spec.commands ?? []).filter(({ isHidden }) => !isHidden).map(wordOf),
      ...choices.map((word) => ({ word, about: '' })),
      ...(path === '' ? [{ word: 'help', about: 'explain a command' }] : []),
    ],
    flags: [...(spec.options ?? []), ...COMMON_OPTIONS].flatMap(flagsOf),
  }
}

function wordOf({ name, about }: CommandSpec): { word: string; about: string } {
  return { word: name, about }
}

function flagsOf({ flags, about, choices }: OptionSpec): Node['flags'] {
  const takesValue = flags.includes('<')
  const words = flags.match(/(?<=^|, )--?[\w-]+/g) ?? []
  return words.map((word) => ({ word, about, takesValue, choices: [...(choices ?? [])] }))
}

/** Each `path` of two words or more begins with the name of a command that has commands. */
function groupNames(nodes: Node[]): string[] {
  return [...new Set(nodes.filter(({ path }) => path.includes(' ')).map(({ path }) => first(path)))]
}

function first(path: string): string {
  return path.split(' ')[0] as string
}

function bashScript(nodes: Node[]): string {
  const cases = nodes.map(({ path, words, flags }) => {
    const list = [...words, ...flags].map(({ word }) => word).join(' ')
    return `    '${path}') words='${list}' ;;`
  })
  return `# bash completion for wormhole; load with: source <(wormhole completion bash)
_wormhole() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path='' words='' word index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    [[ $word == -* ]] && continue
    if [[ -z $path ]]; then
      path="$word"
    elif [[ $path == @(${groupNames(nodes).join('|')}) ]]; then
      path="$path $word"
      break
    else
      break
    fi
  done
  case "$path" in
${cases.join('\n')}
  esac
  [[ $current == -* || -z $path ]] || mapfile -t COMPREPLY < <(compgen -f -- "$current")
  mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o filenames -F _wormhole wormhole`
}

function zshScript(nodes: Node[]): string {
  const cases = nodes.map(({ path, words, flags }) => {
    const lines = [...words, ...flags].map(({ word, about }) => `'${zshText(word, about)}'`)
    return `    '${path}') words_here=(${lines.join(' ')}) ;;`
  })
  return `#compdef wormhole
# zsh completion for wormhole; load with: source <(wormhole completion zsh)
_wormhole() {
  local place='' word index
  local -a words_here
  for ((index = 2; index < CURRENT; index++)); do
    word="\${words[index]}"
    [[ $word == -* ]] && continue
    if [[ -z $place ]]; then
      place="$word"
    elif [[ $place == (${groupNames(nodes).join('|')}) ]]; then
      place="$place $word"
      break
    else
      break
    fi
  done
  case "$place" in
${cases.join('\n')}
  esac
  _describe 'wormhole' words_here
  [[ -z $place ]] || _files
}
compdef _wormhole wormhole`
}

function zshText(word: string, about: string): string {
  const text = about === '' ? word : `${word}:${about.replaceAll(':', '\\:')}`
  return text.replaceAll("'", "'\\''")
}

function fishScript(nodes: Node[]): string {
  const lines = ['# fish completion for wormhole; load with: wormhole completion fish | source']
  for (const { path, words, flags } of nodes) {
    const names = path.split(' ').filter((name) => name !== '')
    const seen = names.map((name) => `__fish_seen_subcommand_from ${name}`)
    const condition = seen.length === 0 ? '__fish_use_subcommand' : seen.join('; and ')
    for (const { word, about } of words) {
      lines.push(`complete -c wormhole -n '${condition}' -a ${word} -d ${fishText(about)}`)
    }
    for (const { word, about, takesValue, choices } of flags) {
      const name = word.startsWith('--') ? `-l ${word.slice(2)}` : `-s ${word.slice(1)}`
      const value = takesValue ? ` -r${choices.length > 0 ? ` -a '${choices.join(' ')}'` : ''}` : ''
      lines.push(`complete -c wormhole -n '${condition}' ${name}${value} -d ${fishText(about)}`)
    }
  }
  return lines.join('\n')
}

function fishText(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
