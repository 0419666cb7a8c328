/** What a person needs to use the cloud: files, addresses, versions. */
import { chmod, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { seconds } from '../../api/setup/progress.ts';
import { FIRST_SERVER } from './first-server.ts';
import { keyFile } from './seed.ts';
import { CONTROL, controlAddress, REGION, replaceFile, type Cloud } from './setting.ts';

export function openrcFile(home: string): string {
  return join(home, 'openrc');
}

function openrc(cloud: Cloud, user: string): string {
  return `export OS_AUTH_TYPE=password OS_IDENTITY_API_VERSION=3
export OS_AUTH_URL=http://${controlAddress(cloud.facts)}:5000/v3
export OS_USERNAME=${user} OS_PASSWORD=${cloud.facts.password} OS_PROJECT_NAME=${user}
export OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default OS_REGION_NAME=${REGION}
`;
}

/** Credentials of the administrator and of the tenant. */
export async function writeOpenrc(cloud: Cloud): Promise<void> {
  for (const user of ['admin', 'demo']) {
    await replaceFile(openrcFile(cloud.home).concat('-', user), openrc(cloud, user), 0o600);
  }
  await rm(openrcFile(cloud.home), { force: true });
  await symlink('openrc-demo', openrcFile(cloud.home));
  await chmod(keyFile(cloud.home), 0o600);
}

const ASK_VERSIONS = String.raw`dpkg-query -W -f '\${Package} \${Version}\n' keystone glance-api placement-api nova-api neutron-api \
	cinder-api openstack-dashboard ovn-central rabbitmq-server mariadb-server`;

export async function tell(cloud: Cloud, address: string, totalMs: number): Promise<void> {
  const { progress, home, facts } = cloud;
  const control = controlAddress(facts);
  const { stdout } = await cloud.lxd.exec(cloud.caller, CONTROL, [
    'sh',
    '-c',
    ASK_VERSIONS.replaceAll('\\$', '$'),
  ]);
  const versions = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  const lxc = `LXD_DIR=${cloud.daemon.paths.state} lxc`;
  const lines = [
    '',
    'The cloud is up.',
    `  dashboard     http://${control}/horizon   (demo or admin, domain Default, password ${facts.password})`,
    `  credentials   . ${openrcFile(home)}-demo     or ${openrcFile(home)}-admin`,
    `  APIs          Keystone http://${control}:5000/v3, Nova :8774, Neutron :9696, Glance :9292,`,
    `                Placement :8778, Cinder :8776, serial consoles :6083, RabbitMQ :5672`,
    `  first server  ssh -i ${keyFile(home)} debian@${address}`,
    '',
    'What to try next (the client is in the control plane, or install python3-openstackclient):',
    `  ${lxc} exec ${CONTROL} -- bash -c '. /root/openrc; openstack server list --all-projects'`,
    `  openstack server create --image busybox --flavor tiny --network private --wait second`,
    `  openstack console log show ${FIRST_SERVER}`,
    '  npm run cloud -- status      npm run cloud -- down      npm run cloud -- fresh',
    '',
    `Versions: ${versions.map(([name, version]) => `${name ?? ''} ${version ?? ''}`).join(', ')}`,
    '',
    ...cloud.progress.times.map(({ what, ms }) => `  ${seconds(ms).padStart(8)}  ${what}`),
    `  ${seconds(totalMs).padStart(8)}  everything`,
  ];
  for (const line of lines) progress.line(line);
}
