/** The language in words for people: values, the reference page, the templates. */
import { sizeToText } from './size.ts'
import { allowedText, isPlainObject, POLICY_KEYS, type PolicyKey } from './language.ts'
import { POLICY_SCHEMA, type PolicyValue, type SchemaNode } from './schema.ts'

/** A value as it would be written in a policy file. */
export function tomlValue(key: PolicyKey, value: PolicyValue): string {
  if (key.isSize && !isPlainObject(value)) {
    return value === 0 ? '0' : JSON.stringify(sizeToText(value as number | string))
  }
  if (isPlainObject(value)) {
    const pairs = Object.entries(value).map(([label, word]) => {
      return `${/^[\w-]+$/.test(label) ? label : JSON.stringify(label)} = ${JSON.stringify(word)}`
    })
    return `{ ${pairs.join(', ')} }`
  }
  if (!Array.isArray(value)) return JSON.stringify(value)
  return `[${value.map((item) => JSON.stringify(item)).join(', ')}]`
}

/** A value for a table of explanations: without quotes, and nothing as `-`. */
export function shownValue(name: string, value: PolicyValue): string {
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.join(', ')
  const key = POLICY_KEYS.find(({ key }) => key === name)
  return key?.isSize === true ? sizeToText(value as number | string) : String(value)
}

/** A key of the root, and every table with its keys, in the order of the schema. */
export function sections(): { title: string; node: SchemaNode; keys: PolicyKey[] }[] {
  const found = Object.entries(POLICY_SCHEMA.properties ?? {}).map(([title, node]) => ({
    title,
    node,
    keys: POLICY_KEYS.filter(({ path }) => path[0] === title),
  }))
  return found
}

/** The reference page: everything that the schema says, as Markdown. */
export function formatReference(): string {
  const lines = [
    '# Policy files: reference',
    '',
    'Made from the schema (`schema.ts`) by `npm run reference`; a test holds the two together.',
    'Why the language is as it is stands in `README.md`. The same schema, for editors, is what',
    '`wormhole policy schema` prints.',
    '',
    'A key that a folder does not set is inherited from the folder above; above the root is the',
    'default. A nearer folder decides each key for itself; a list replaces the list from above.',
    '',
  ]
  for (const { title, node, keys } of sections()) {
    const isTable = node.properties !== undefined
    lines.push(isTable ? `## [${title}]` : `## ${title}`, '')
    if (isTable) lines.push(node.description, '')
    for (const key of keys) {
      if (isTable) lines.push(`### ${key.key}`, '')
      lines.push(key.node.description, '', ...facts(key), '')
    }
  }
  return `${lines.join('\n').trimEnd()}\n`
}

function facts(key: PolicyKey): string[] {
  const { node } = key
  const name = key.path.at(-1) as string
  const examples = (node.examples ?? []).map(
    (example) => `\`${name} = ${tomlValue({ ...key, isSize: false }, example)}\``,
  )
  return [
    `- Allowed: ${allowedText(node)}`,
    `- Default: \`${tomlValue(key, key.default)}\``,
    ...(examples.length > 0 ? [`- Examples: ${examples.join('; ')}`] : []),
    ...(node['x-pending'] === undefined ? [] : [`- **${node['x-pending']}**`]),
  ]
}
