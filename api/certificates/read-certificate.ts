/** Client certificates as they come over the wire. */
import { X509Certificate } from 'node:crypto';
import { Fault } from '../../process/fault.ts';

export interface ReadCertificate {
  readonly fingerprint: string;
  readonly pem: string;
}

/** Base64 of the DER; line breaks and PEM armour are taken too (pylxd leaves the breaks in). Fault bad_request. */
export function readCertificateText(text: string): ReadCertificate {
  const base64 = text.replace(/-----[A-Z ]+-----/g, '').replace(/\s+/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) {
    throw new Fault('bad_request', 'certificate is not the base64 text of a DER certificate');
  }
  return readCertificateBytes(Buffer.from(base64, 'base64'));
}

/** Faults bad_request: no certificate, not valid yet, expired, an RSA key that is too short. */
export function readCertificateBytes(der: Buffer): ReadCertificate {
  const parsed = parse(der);
  const now = Date.now();
  if (now < Date.parse(parsed.validFrom)) {
    throw new Fault('bad_request', "The provided certificate isn't valid yet");
  }
  if (now > Date.parse(parsed.validTo)) throw new Fault('bad_request', 'The provided certificate is expired');
  const { asymmetricKeyType, asymmetricKeyDetails } = parsed.publicKey;
  if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) < 2048) {
    throw new Fault('bad_request', 'The provided certificate is using weak keys');
  }
  return { fingerprint: parsed.fingerprint256.replaceAll(':', '').toLowerCase(), pem: parsed.toString() };
}

function parse(der: Buffer): X509Certificate {
  try {
    const parsed = new X509Certificate(der);
    // The key is parsed on first use; a key of an unknown kind must fail here.
    void parsed.publicKey;
    return parsed;
  } catch (err) {
    throw new Fault('bad_request', 'certificate is no X.509 certificate', { cause: err });
  }
}
