/**
 * What a joiner asks for and signs: the message between joiner, admitting member and everyone who
 * later folds the admission.
 */
import { ByteWriter } from '../bytes.ts'
import { WormholeError } from '../errors.ts'
import { sign, signingKeys, verify } from '../seal.ts'
import type { DeviceId, VolumeId } from '../types.ts'

/** What somebody who wants in asks for; `signature` is the invite key's, over all the rest. */
export interface Admissible {
  readonly volume: VolumeId
  /** Public half, 32 bytes. */
  readonly inviteKey: Uint8Array
  readonly device: DeviceId
  readonly boxKey: Uint8Array
  readonly deviceName: string
}

/** The bytes an invite key signs to let a device in: tag, volume, keys, name. Fresh memory. */
export function admissionMessage(request: Admissible): Buffer {
  return new ByteWriter(256)
    .latin1('wormhole/1/admission')
    .hex(request.volume)
    .bytes(request.inviteKey)
    .hex(request.device)
    .bytes(request.boxKey)
    .bytes(Buffer.from(request.deviceName, 'utf8'))
    .finish()
}

/** The signature of an invite (or recovery) seed on a joiner's request, and the public half. */
export function signAdmission(
  seed: Uint8Array,
  request: Omit<Admissible, 'inviteKey'>,
): { inviteKey: Buffer; signature: Buffer } {
  const { publicKey, secretKey } = signingKeys(seed)
  const message = admissionMessage({ ...request, inviteKey: publicKey })
  return { inviteKey: publicKey, signature: sign(secretKey, message) }
}

/** Whether the invite key signed the request. @throws {WormholeError} `INVITE_INVALID`. */
export function checkSignature(request: Admissible, signature: Uint8Array): void {
  if (verify(request.inviteKey, admissionMessage(request), signature)) return
  refuse('INVITE_INVALID', 'the request is not signed with the invite')
}

/** Tells a joiner why it is not let in. */
export function refuse(
  code: 'INVITE_INVALID' | 'INVITE_EXPIRED' | 'INVITE_USED_UP',
  why: string,
): never {
  throw new WormholeError(code, why)
}
