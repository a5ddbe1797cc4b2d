/**
 * The language of policy files as one JSON schema: every key, what it allows, its default, what it
 * means, and what of it is not enforced yet. The validator, the messages, the decisions, the
 * reference page, the templates and the completion of editors all come from it. Data only; what
 * reads it is in `language.ts`.
 */

/** What a key may hold, in canonical form: sizes are bytes, or the word `unlimited`. */
export type PolicyValue =
  string | number | boolean | readonly string[] | Readonly<Record<string, string>>

/** JSON schema, as much of it as the language needs, and four annotations of our own. */
export interface SchemaNode {
  readonly $schema?: string
  readonly title?: string
  readonly description: string
  readonly type?: string | readonly string[]
  readonly additionalProperties?: false
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly patternProperties?: Readonly<Record<string, SchemaNode>>
  readonly anyOf?: readonly SchemaNode[]
  readonly enum?: readonly string[]
  readonly minimum?: number
  readonly maximum?: number
  readonly pattern?: string
  readonly maxLength?: number
  readonly items?: SchemaNode
  readonly maxItems?: number
  readonly uniqueItems?: true
  readonly examples?: readonly PolicyValue[]
  /** What holds where no folder sets the key. */
  readonly default?: PolicyValue
  /** What holds where a policy cannot be read: the value that keeps most data. */
  readonly 'x-safest'?: PolicyValue
  /** What is allowed, in words, where the rest of the node does not say it well. */
  readonly 'x-allowed'?: string
  /** What this version does not do yet. With `x-pending-words` only where one of them is set. */
  readonly 'x-pending'?: string
  readonly 'x-pending-words'?: readonly string[]
  /**
   * Of a table: a key in it that this version does not know may ask to keep more, so that beside
   * it the known ones have their safest value.
   */
  readonly 'x-cautious'?: true
}

/** Longest time that history may be kept, about a century. */
const HISTORY_DAYS_MAX = 36_500
/** Far more versions than a person looks through. */
const HISTORY_VERSIONS_MAX = 100_000
/** More copies than anybody has devices. */
const COPIES_MAX = 100
/** So that the texts of all lists together rarely reach the bound of the register. */
const LABELS_MAX = 32
const IGNORE_MAX = 128

/** Of a pattern of `.gitignore`: a backslash quotes what follows. */
const PATTERN_CHARACTER = '(?:[^\\\\\\x00-\\x1f]|\\\\[^\\x00-\\x1f])'
const LABEL = '[A-Za-z0-9][A-Za-z0-9._-]{0,31}=[^\\s](?:[^\\n\\r\\t]{0,126}[^\\s])?'
const LABEL_EXAMPLES = 'label expressions such as "device=nas" or "region=eu"'
const NOT_ENFORCED = 'not enforced yet'

/** A number with a unit, as disks and files are sold; a bare number counts bytes. */
const SIZE = {
  type: ['integer', 'string'],
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  pattern: '^(?:unlimited|[0-9]{1,15}(?:\\.[0-9]{1,3})? ?(?:B|[kKMGT]i?B))$',
  examples: ['500 MB', '4 GiB', 'unlimited'],
  'x-allowed':
    'a size such as "500 MB" (of 1,000) or "4 GiB" (of 1,024), a number of bytes, or "unlimited"',
} as const

const LABELS = {
  type: 'array',
  maxItems: LABELS_MAX,
  uniqueItems: true,
  items: {
    type: 'string',
    pattern: `^${LABEL}$`,
    description: 'A label and its value. Every device has the label `device`, its name.',
    examples: ['device=nas', 'region=eu', 'tier=ssd'],
    'x-allowed': LABEL_EXAMPLES,
  },
  default: [],
  'x-safest': [],
  'x-allowed': `a list of ${LABEL_EXAMPLES}, at most ${LABELS_MAX}`,
  'x-pending': NOT_ENFORCED,
} as const

const KEEP_WORDS = ['always', 'cached', 'streamed'] as const

function table(description: string, properties: Record<string, SchemaNode>): SchemaNode {
  return { type: 'object', additionalProperties: false, description, properties }
}

/** JSON schema (draft 7) of one policy file. */
export const POLICY_SCHEMA: SchemaNode = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'Policy of a folder in a Wormhole volume (.wormhole.toml)',
  ...table('The policy of a folder and everything below it.', {
    ignore: {
      type: 'array',
      maxItems: IGNORE_MAX,
      items: {
        type: 'string',
        maxLength: 255,
        pattern: `^(?!#)!?${PATTERN_CHARACTER}*(?:[^\\\\\\s\\x00-\\x1f]|\\\\[^\\x00-\\x1f])$`,
        description: 'A pattern as in .gitignore, seen from this folder.',
        examples: ['*.tmp', '/build/', '!keep.tmp'],
        'x-allowed': 'patterns as in .gitignore, such as "*.tmp" or "/build/"',
      },
      default: [],
      'x-safest': [],
      'x-allowed':
        `a list of patterns as in .gitignore, such as ["*.tmp", "/build/"], at most ` +
        `${IGNORE_MAX}`,
      'x-pending': `${NOT_ENFORCED}: such files leave the device like all others`,
      examples: [['*.tmp', '/build/']],
      description:
        'Files that never leave the device they are made on. The last pattern that fits ' +
        'decides, and `!` takes back.',
    },
    conflicts: table(
      'What happens when two devices change one thing without knowing of each other.',
      {
        strategy: {
          enum: ['copies', 'last-writer-wins'],
          default: 'copies',
          'x-safest': 'copies',
          description:
            'Keep every version in the tree, or show the latest and keep the others in the ' +
            'history.',
        },
        notify: {
          type: 'boolean',
          default: true,
          'x-safest': true,
          description:
            'Whether `status` counts the conflicts of this folder, and `conflicts --watch` ' +
            'tells them. `conflicts` lists them in any case.',
        },
      },
    ),
    replication: table('How many devices have a file.', {
      copies: {
        type: 'integer',
        minimum: 1,
        maximum: COPIES_MAX,
        default: 2,
        'x-safest': COPIES_MAX,
        'x-pending': `${NOT_ENFORCED}: a device keeps what \`local.keep\` says`,
        description:
          'Devices that have to have a file before any of them may let go of it. Two, unless ' +
          'set: the loss of one machine loses nothing.',
      },
    }),
    placement: table('Which devices the copies lie on.', {
      require: {
        ...LABELS,
        examples: [['device=nas']],
        description: 'For each expression at least one device that has this label holds a copy.',
      },
      prefer: {
        ...LABELS,
        examples: [['tier=hdd', 'region=eu']],
        description: 'Other copies go to these devices first, in this order.',
      },
      avoid: {
        ...LABELS,
        examples: [['tier=ssd']],
        description: 'No copy counts that lies on such a device, and none is sent there.',
      },
    }),
    local: table('What this folder means for the disk of each device.', {
      keep: {
        anyOf: [
          {
            enum: KEEP_WORDS,
            description: 'For every device.',
          },
          {
            type: 'object',
            additionalProperties: false,
            description:
              'For devices with a label; `default` for all others. Where none fits, the ' +
              'folder above decides.',
            patternProperties: {
              [`^(?:default|${LABEL})$`]: { enum: KEEP_WORDS, description: 'For such devices.' },
            },
            'x-allowed': 'keys "default" or label expressions such as "device=laptop"',
          },
        ],
        default: 'always',
        'x-safest': 'always',
        'x-allowed':
          '"always", "cached", "streamed", or a table from labels to these, such as { ' +
          'default = "cached", "device=nas" = "always" }',
        'x-pending': 'streamed is not enforced yet: it acts as cached',
        'x-pending-words': ['streamed'],
        examples: ['cached', { default: 'cached', 'device=nas': 'always' }],
        description:
          'Fetch everything and keep it; fetch on read and keep while there is room; or ' +
          'fetch on read and keep nothing. If several labels of a device are named, the one ' +
          'that keeps most holds.',
      },
      prefetch: {
        ...SIZE,
        default: 0,
        'x-safest': 'unlimited',
        examples: ['256 KiB', 'unlimited', 0],
        description:
          'In a folder that is cached, files up to this size are fetched and kept without ' +
          'being read.',
      },
    }),
    history: {
      ...table('How long versions that were replaced can still be read.', {
        days: {
          type: 'integer',
          minimum: 1,
          maximum: HISTORY_DAYS_MAX,
          default: 30,
          'x-safest': HISTORY_DAYS_MAX,
          description: 'Days that a replaced or deleted version can be read.',
        },
        versions: {
          type: 'integer',
          minimum: 0,
          maximum: HISTORY_VERSIONS_MAX,
          default: 0,
          'x-safest': HISTORY_VERSIONS_MAX,
          description:
            'So many of the newest replaced versions of a file stay, however old they are, while ' +
            'the file is there.',
        },
      }),
      'x-cautious': true,
    },
    limits: table('How much may lie here.', {
      file_size: {
        ...SIZE,
        default: 'unlimited',
        'x-safest': 'unlimited',
        description:
          'Largest file that can be written here (EFBIG above it). Files that are larger ' +
          'already stay and can be read, and shortened.',
      },
      quota: {
        ...SIZE,
        default: 'unlimited',
        'x-safest': 'unlimited',
        'x-pending': NOT_ENFORCED,
        description:
          'Bytes that the files in this folder and below may have together. Each folder that ' +
          'sets it counts for itself.',
      },
    }),
    access: table('Who may change something.', {
      readonly: {
        type: 'boolean',
        default: false,
        'x-safest': false,
        description:
          'Only devices with the role admin change anything here (EROFS for all others). ' +
          'Each device enforces it for its own programs; it is no protection against a ' +
          'member that cheats.',
      },
    }),
  }),
}
