import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asNovaError, readFailure, writeFailure } from '../../../../driver/rpc/failures.ts';
import {
  codeOfNovaError,
  isNovaError,
  notImplemented,
  novaError,
} from '../../../../driver/rpc/nova-error.ts';
import { Fault, FAULTS, type FaultCode } from '../../../../process/fault.ts';

test('every fault has an exception of Nova', () => {
  // The keys of FAULTS are the codes.
  for (const code of Object.keys(FAULTS) as FaultCode[]) {
    const failure: unknown = JSON.parse(writeFailure(new Fault(code, 'do it', { facts: { name: 'x' } })));
    assert.ok(
      typeof failure === 'object' && failure !== null && 'class' in failure && 'module' in failure,
      code,
    );
    assert.ok(failure.module === 'nova.exception' || failure.class === 'NotImplementedError', code);
  }
});

test('an exception carries its arguments, its code and its text', () => {
  const failure: unknown = JSON.parse(writeFailure(novaError('InstanceNotFound', { instance_id: 'u1' })));
  assert.deepEqual(failure, {
    class: 'InstanceNotFound',
    module: 'nova.exception',
    message: 'Instance u1 could not be found.',
    tb: ['nova.exception.InstanceNotFound: Instance u1 could not be found.\n'],
    args: ['Instance u1 could not be found.'],
    kwargs: { code: 404, instance_id: 'u1' },
  });
  assert.equal(codeOfNovaError(novaError('PortInUse', { port_id: 'p' })), 409);
  assert.equal(codeOfNovaError(asNovaError(new Error('x'))), 500);
});

test('a feature that is missing is NotImplementedError of Python', () => {
  const failure = readFailure(writeFailure(notImplemented()));
  assert.ok(isNovaError(failure, 'NotImplementedError'));
  assert.equal(failure.module, 'builtins');
  assert.deepEqual(failure.args, []);
});

test('failures of any shape become errors', () => {
  for (const text of ['', 'Boom', '[]', '{}', '{"class":5,"args":{},"kwargs":[],"tb":"x"}']) {
    assert.ok(isNovaError(readFailure(text), 'RemoteError'), text);
  }
  const twice = '{"class":"InstanceNotFound_Remote","module":"nova.exception_Remote","message":"m"}';
  assert.ok(isNovaError(readFailure(twice), 'InstanceNotFound'));
});
