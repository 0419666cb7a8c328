/** How the services of the cloud are reached: the sections of nova.conf that keystoneauth reads. */
import { booleanOption, integerOption, listOption, pathOption, textOption } from './option.ts';

/** Who logs in, at which Keystone. */
const LOGIN = {
  auth_type: textOption({ fallback: 'password', help: 'Only password is known.' }),
  auth_url: textOption({ fallback: '', help: 'Address of Keystone, with or without /v3.' }),
  username: textOption({ fallback: '', help: 'Name of the service user.' }),
  password: textOption({ fallback: '', secret: true, help: 'Password of the service user.' }),
  project_name: textOption({ fallback: '', help: 'Project of the service user.' }),
  user_domain_name: textOption({ fallback: '', help: 'Domain of the service user, by name.' }),
  user_domain_id: textOption({ fallback: '', help: 'Domain of the service user, by id.' }),
  project_domain_name: textOption({ fallback: '', help: 'Domain of the project, by name.' }),
  project_domain_id: textOption({ fallback: '', help: 'Domain of the project, by id.' }),
  cafile: pathOption({ fallback: '', help: 'Authorities (PEM) the certificates are checked against.' }),
  certfile: pathOption({ fallback: '', help: 'Certificate (PEM) to show.' }),
  keyfile: pathOption({ fallback: '', help: 'Private key (PEM) of certfile.' }),
  insecure: booleanOption({ fallback: false, help: 'Certificates are not checked.' }),
  timeout: integerOption({
    fallback: 0,
    min: 0,
    max: 86_400,
    help: "Seconds a request may take; 0: this service's own limit.",
  }),
} as const;

/** Where in the catalogue a service is found. */
function service(type: string) {
  return {
    service_type: textOption({ fallback: type, help: 'Type of the service in the catalogue.' }),
    service_name: textOption({ fallback: '', help: 'Name of the service in the catalogue.' }),
    valid_interfaces: listOption({
      fallback: ['internal', 'public'],
      help: 'Kinds of endpoints, the one to prefer first.',
    }),
    region_name: textOption({ fallback: '', help: 'Region of the endpoint.' }),
    endpoint_override: textOption({ fallback: '', help: 'Address in place of the one in the catalogue.' }),
  } as const;
}

function retries(fallback: number, help: string) {
  return integerOption({ fallback, min: 0, max: 1000, help });
}

export const CLOUD_OPTIONS = {
  service_user: {
    ...LOGIN,
    send_service_user_token: booleanOption({
      fallback: false,
      help: "Send the service's own token beside the user's: long work outlives the user's.",
    }),
  },
  glance: {
    ...service('image'),
    api_servers: listOption({ fallback: [], help: 'Addresses of Glance, in place of the catalogue.' }),
    num_retries: retries(3, 'How often a download is tried again.'),
    cafile: LOGIN.cafile,
    insecure: LOGIN.insecure,
    timeout: LOGIN.timeout,
    verify_glance_signatures: booleanOption({
      fallback: false,
      help: 'Only images with a valid signature are used.',
    }),
  },
  neutron: {
    ...LOGIN,
    ...service('network'),
    http_retries: retries(3, 'How often a request that failed on the way is sent again.'),
    ovs_bridge: textOption({ fallback: 'br-int', help: 'Bridge of ports that name none.' }),
    extension_sync_interval: integerOption({
      fallback: 600,
      min: 0,
      max: 86_400,
      help: "Seconds Neutron's list of extensions is kept.",
    }),
    physnets: listOption({ fallback: [], help: 'Physical networks of this host.' }),
  },
  placement: { ...LOGIN, ...service('placement') },
  cinder: {
    ...LOGIN,
    catalog_info: textOption({
      fallback: 'volumev3::publicURL',
      help: 'Type, name and interface of Cinder in the catalogue, parted by colons.',
    }),
    endpoint_template: textOption({ fallback: '', help: 'Address in place of the one in the catalogue.' }),
    os_region_name: textOption({ fallback: '', help: 'Region of the endpoint.' }),
    http_retries: retries(3, 'How often a request that failed on the way is sent again.'),
    cross_az_attach: booleanOption({
      fallback: true,
      help: 'Volumes of another availability zone may be attached.',
    }),
  },
  serial_console: {
    enabled: booleanOption({ fallback: false, help: 'Give out serial consoles.' }),
    base_url: textOption({
      fallback: 'ws://127.0.0.1:6083/',
      help: 'Address of nova-serialproxy as users reach it.',
    }),
    proxyclient_address: textOption({
      fallback: '127.0.0.1',
      help: 'Address of this host as nova-serialproxy reaches it.',
    }),
    port_range: textOption({ fallback: '10000:20000', help: 'Ports of consoles on this host.' }),
  },
  consoleauth: {
    token_ttl: integerOption({
      fallback: 600,
      min: 0,
      max: 86_400,
      help: 'Seconds a console may be opened.',
    }),
  },
} as const;
