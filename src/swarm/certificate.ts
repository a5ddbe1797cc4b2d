/**
 * The self-signed X.509 certificate of a device: a container for its Ed25519 key, nothing more.
 * Peers compare the key inside with the one they expect and read nothing else, so that every field
 * but the key is constant: no clock, no names, no extensions, the same bytes each time.
 *
 * Format: RFC 5280 section 4.1 (DER, X.690), Ed25519 in certificates RFC 8410.
 */
import { createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto'
import { sign, type SigningKeys } from '../seal.ts'

const SEQUENCE = 0x30
const SET = 0x31
const INTEGER = 0x02
const BIT_STRING = 0x03
const OBJECT_ID = 0x06
const UTF8_STRING = 0x0c
const GENERALIZED_TIME = 0x18
/** [0] EXPLICIT, the version of a certificate. */
const VERSION = 0xa0

/** 1.3.101.112 */
const ED25519 = Buffer.from([0x2b, 0x65, 0x70])
/** 2.5.4.3 */
const COMMON_NAME = Buffer.from([0x55, 0x04, 0x03])
/** PKCS #8 of an Ed25519 seed up to the seed (RFC 8410 section 7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
/** SubjectPublicKeyInfo of an Ed25519 key up to the key (RFC 8410 section 4). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')

function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const length =
    body.length < 0x80
      ? [body.length]
      : body.length < 0x100
        ? [0x81, body.length]
        : [0x82, body.length >>> 8, body.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), body])
}

function text(tag: number, value: string): Buffer {
  return der(tag, Buffer.from(value, 'latin1'))
}

/** The certificate and the private key of a device, as TLS wants them (PEM). */
export function deviceCertificate(keys: SigningKeys): { certificate: string; privateKey: string } {
  const algorithm = der(SEQUENCE, der(OBJECT_ID, ED25519))
  const name = der(
    SEQUENCE,
    der(SET, der(SEQUENCE, der(OBJECT_ID, COMMON_NAME), text(UTF8_STRING, 'wormhole'))),
  )
  const toBeSigned = der(
    SEQUENCE,
    der(VERSION, der(INTEGER, Buffer.from([2]))),
    der(INTEGER, Buffer.from([1])),
    algorithm,
    name,
    der(
      SEQUENCE,
      text(GENERALIZED_TIME, '20000101000000Z'),
      text(GENERALIZED_TIME, '99991231235959Z'),
    ),
    name,
    SPKI_PREFIX,
    keys.publicKey,
  )
  const signature = sign(keys.secretKey, toBeSigned)
  const certificate = der(
    SEQUENCE,
    toBeSigned,
    algorithm,
    der(BIT_STRING, Buffer.from([0]), signature),
  )
  const lines = certificate.toString('base64').replace(/(.{64})/g, '$1\n')
  return {
    certificate: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    privateKey: privateKey(keys).export({ type: 'pkcs8', format: 'pem' }) as string,
  }
}

function privateKey(keys: SigningKeys): KeyObject {
  // libsodium's secret key is the seed followed by the public key.
  const seed = keys.secretKey.subarray(0, 32)
  return createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  })
}

/** Hex of the Ed25519 key in a certificate; undefined for any other kind of key. */
export function certificateKey(certificate: X509Certificate): string | undefined {
  if (certificate.publicKey.asymmetricKeyType !== 'ed25519') return undefined
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
  return spki.subarray(-32).toString('hex')
}
