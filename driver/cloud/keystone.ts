/** Tokens of Keystone (v3): cached until shortly before they end, asked for once however many wait. */
import { Fault, isFault } from '../../process/fault.ts';
import { type Log } from '../../process/log.ts';
import { readCatalog, type Catalog } from './catalog.ts';
import { answered, recordOf, textOf } from './json.ts';
import { type HttpSession } from './session.ts';

/** A name or an id. */
export type NamedOrId = { readonly name: string } | { readonly id: string };

/** One service account: the keystoneauth options of a section of nova.conf. */
export interface Account {
  /** Section it comes from, for errors: "[neutron]". */
  readonly section: string;
  readonly authUrl: string;
  readonly login:
    | {
        readonly kind: 'password';
        readonly user: NamedOrId;
        /** Domain of a user given by name. */
        readonly userDomain: NamedOrId;
        readonly password: string;
        readonly project: NamedOrId;
        readonly projectDomain: NamedOrId;
      }
    | { readonly kind: 'application_credential'; readonly id: string; readonly secret: string };
}

export interface Token {
  readonly id: string;
  readonly expiresAtMs: number;
  readonly projectId: string;
  readonly userId: string;
  readonly catalog: Catalog;
}

/** A token is renewed this long before it ends; keystoneauth does the same. */
const EARLY_MS = 30_000;

export interface KeystoneParts {
  readonly session: HttpSession;
  readonly account: Account;
  readonly log: Log;
  readonly now?: () => number;
}

export class Keystone {
  private readonly session: HttpSession;
  private readonly account: Account;
  private readonly log: Log;
  private readonly now: () => number;
  private current: Token | null = null;
  private asking: Promise<Token> | null = null;

  constructor(parts: KeystoneParts) {
    this.session = parts.session;
    this.account = parts.account;
    this.log = parts.log;
    this.now = parts.now ?? Date.now;
  }

  /** A token that holds for a while. Fault not_trusted for a wrong password, unavailable for no answer. */
  token(): Promise<Token> {
    const { current } = this;
    if (current !== null && current.expiresAtMs - EARLY_MS > this.now()) return Promise.resolve(current);
    return this.renew();
  }

  /** A service refused this token: the next one asked for is another. Of many that say so, one renews. */
  refuse(tokenId: string): void {
    if (this.current?.id === tokenId) this.current = null;
  }

  private renew(): Promise<Token> {
    // The question is nobody's own: one waiter that gives up must not take it from the others.
    this.asking ??= this.ask().finally(() => {
      this.asking = null;
    });
    return this.asking;
  }

  private async ask(): Promise<Token> {
    const { section, authUrl } = this.account;
    const what = `log in at Keystone with the account of ${section}`;
    try {
      const answer = await this.session.send({
        what,
        method: 'POST',
        url: `${identityV3(authUrl)}/auth/tokens`,
        body: authBody(this.account),
      });
      const token = readToken(answer.body, answer.headers['x-subject-token'], what);
      this.current = token;
      this.log.debug('token renewed', { section, expires: new Date(token.expiresAtMs).toISOString() });
      return token;
    } catch (err) {
      if (!isFault(err, 'not_trusted')) throw err;
      throw new Fault(
        'not_trusted',
        `${what}: refused; correct username, password, domains and project in ${section}`,
      );
    }
  }
}

/** Base of the v3 API, from an auth_url with or without a version. */
export function identityV3(authUrl: string): string {
  const base = authUrl.replace(/\/+$/, '');
  if (/\/v3$/.test(base)) return base;
  return `${base.replace(/\/v2\.0$/, '')}/v3`;
}

/** The body of POST /v3/auth/tokens. */
export function authBody(account: Account): unknown {
  const { login } = account;
  if (login.kind === 'application_credential') {
    const { id, secret } = login;
    return {
      auth: { identity: { methods: ['application_credential'], application_credential: { id, secret } } },
    };
  }
  const user = 'id' in login.user ? login.user : { ...login.user, domain: login.userDomain };
  const project = 'id' in login.project ? login.project : { ...login.project, domain: login.projectDomain };
  return {
    auth: {
      identity: { methods: ['password'], password: { user: { ...user, password: login.password } } },
      scope: { project },
    },
  };
}

function readToken(body: unknown, id: string | undefined, what: string): Token {
  const token = answered(body, 'token', what);
  const expiresAtMs = Date.parse(textOf(token['expires_at']));
  if (id === undefined || Number.isNaN(expiresAtMs)) {
    throw new Fault(
      'unavailable',
      `${what}: the answer holds no token; is auth_url the address of Keystone?`,
    );
  }
  return {
    id,
    expiresAtMs,
    projectId: textOf(recordOf(token['project'])['id']),
    userId: textOf(recordOf(token['user'])['id']),
    catalog: readCatalog(token['catalog']),
  };
}

/**
 * The account in a section of nova.conf, by keystoneauth's option names
 * (auth_type password or v3applicationcredential). Fault bad_request names what is missing.
 */
export function readAccount(section: string, values: Readonly<Record<string, string>>): Account {
  const one = (...names: readonly string[]): string =>
    names.map((name) => values[name] ?? '').find((value) => value !== '') ?? '';
  const need = (...names: readonly string[]): string => {
    const value = one(...names);
    if (value !== '') return value;
    throw new Fault('bad_request', `read [${section}]: ${names[0] ?? ''} is missing`);
  };
  const head = { section: `[${section}]`, authUrl: need('auth_url') };
  const type = one('auth_type', 'auth_plugin') || 'password';
  if (type === 'v3applicationcredential') {
    const id = need('application_credential_id');
    return {
      ...head,
      login: { kind: 'application_credential', id, secret: need('application_credential_secret') },
    };
  }
  if (type !== 'password' && type !== 'v3password') {
    throw new Fault(
      'bad_request',
      `read [${section}]: auth_type "${type}" is not supported; write password or v3applicationcredential`,
    );
  }
  const given = (kind: string, fallback: string): NamedOrId => {
    const id = one(`${kind}_id`);
    return id === '' ? { name: one(`${kind}_name`) || fallback } : { id };
  };
  const domain = (kind: string): NamedOrId => {
    const id = one(`${kind}_domain_id`, 'default_domain_id');
    return id === '' ? { name: one(`${kind}_domain_name`, 'default_domain_name') || 'Default' } : { id };
  };
  const userId = one('user_id', 'user-id');
  const isProjectById = one('project_id', 'tenant_id') !== '';
  return {
    ...head,
    login: {
      kind: 'password',
      user: userId === '' ? { name: need('username', 'user_name', 'user-name') } : { id: userId },
      userDomain: domain('user'),
      password: need('password'),
      project: isProjectById
        ? { id: one('project_id', 'tenant_id') }
        : given('project', need('project_name', 'tenant_name')),
      projectDomain: domain('project'),
    },
  };
}
