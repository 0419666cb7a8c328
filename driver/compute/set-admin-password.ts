/** set_admin_password: `openstack server set --password`. */
import { describeChain } from '../../process/fault.ts';
import { saveInstance } from '../nova/instances.ts';
import { isNovaError, novaError } from '../rpc/nova-error.ts';
import { generatePassword } from './admin-password.ts';
import { POWER, type ComputeHost } from './host.ts';
import type { Work } from './method.ts';

/** The API has an answer for these. */
const TOLD = [
  'InstanceAgentNotEnabled',
  'SetAdminPasswdNotSupported',
  'NotImplementedError',
  'InstanceNotFound',
];

export async function setAdminPassword(host: ComputeHost, work: Work): Promise<null> {
  const { call, instance, args } = work;
  const uuid = instance.text('uuid');
  const password =
    typeof args['new_pass'] === 'string'
      ? args['new_pass']
      : generatePassword(host.options.DEFAULT.password_length);
  if ((await host.guests.power(call, uuid)) !== POWER.running) {
    await endTask(host, work);
    const reason = `instance ${uuid} is not running`;
    throw novaError('InstancePasswordSetFailed', { instance: uuid, reason });
  }
  try {
    await host.guests.setPassword(call, uuid, password);
  } catch (err) {
    await endTask(host, work);
    if (isNovaError(err, ...TOLD)) throw err;
    host.log.warn('a password could not be set', { instance: uuid, error: describeChain(err) });
    // Differs: Nova puts the instance into error. A guest without the program for it runs on unharmed.
    // The reason stays in the log: it comes from a program that was given the password.
    const reason = 'error setting admin password';
    throw novaError('InstancePasswordSetFailed', { instance: uuid, reason });
  }
  await endTask(host, work);
  return null;
}

async function endTask(host: ComputeHost, { context, instance }: Work): Promise<void> {
  instance.set('task_state', null);
  await saveInstance(host.conductor, context, instance, { taskState: ['updating_password'] });
}
