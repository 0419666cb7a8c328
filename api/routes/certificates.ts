/** `/1.0/certificates`: who may use this server over the network. */
import {
  addCertificate,
  changeCertificate,
  issueToken,
  removeCertificate,
  renderCertificate,
  type CertificateParts,
} from '../certificates/certificates.ts';
import { answers, type Answer, type Call, type Route } from '../http/route.ts';
import { certificate, certificateList, certificatePut, certificatesPost } from '../wire/certificates.ts';

const LIST = '/1.0/certificates';
const ONE = '/1.0/certificates/{fingerprint}';

export function certificateRoutes(parts: CertificateParts): Route[] {
  return [...listRoutes(parts), ...objectRoutes(parts)];
}

function listRoutes(parts: CertificateParts): Route[] {
  return [
    {
      method: 'GET',
      path: LIST,
      access: 'trusted',
      summary: 'Lists the trusted certificates.',
      answer: certificateList,
      handle: async (call) => {
        const rows = parts.trust.list();
        if (call.recursion > 0) return answers.sync(rows.map(renderCertificate));
        return answers.sync(rows.map((row) => `${LIST}/${row.fingerprint}`));
      },
    },
    {
      method: 'POST',
      path: LIST,
      access: 'any',
      summary:
        'Adds a certificate (as an admin, with the trust password, or with a token), or issues a token.',
      body: certificatesPost,
      handle: async (call) => {
        const body = certificatesPost.parse(call.body);
        if (body.token === true) return answers.async(issueToken(parts, call.caller, body));
        return answers.created(`${LIST}/${await addCertificate(parts, call.caller, body)}`);
      },
    },
  ];
}

function objectRoutes(parts: CertificateParts): Route[] {
  const rowOf = (call: Call) => parts.trust.get(call.params['fingerprint'] ?? '');
  const change = async (call: Call, merge: boolean): Promise<Answer> => {
    const row = rowOf(call);
    call.checkEtag(renderCertificate(row));
    await changeCertificate(parts, call.caller, row, certificatePut.parse(call.body), merge);
    return answers.empty();
  };
  return [
    {
      method: 'GET',
      path: ONE,
      access: 'trusted',
      summary: 'Shows a certificate; a prefix of its fingerprint is enough.',
      answer: certificate,
      handle: async (call) => {
        const shown = renderCertificate(rowOf(call));
        return answers.sync(shown, shown);
      },
    },
    {
      method: 'PUT',
      path: ONE,
      access: 'trusted',
      summary: 'Replaces what is said of a certificate, or the certificate itself.',
      body: certificatePut,
      handle: (call) => change(call, false),
    },
    {
      method: 'PATCH',
      path: ONE,
      access: 'trusted',
      summary: 'Changes what is given of a certificate.',
      body: certificatePut,
      handle: (call) => change(call, true),
    },
    {
      method: 'DELETE',
      path: ONE,
      access: 'admin',
      summary: 'Removes a certificate from the trust store.',
      handle: async (call) => {
        await removeCertificate(parts, call.caller, rowOf(call));
        return answers.empty();
      },
    },
  ];
}
