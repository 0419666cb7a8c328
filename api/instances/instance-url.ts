/** URLs of an instance as the server writes them. */

/** `/1.0/instances/web1/logs/x?project=p`; `below` is already encoded, `base` an alias when the caller used one. */
export function instanceUrl(
  instance: { readonly project: string; readonly name: string },
  below = '',
  base = '/1.0/instances',
): string {
  const query = instance.project === 'default' ? '' : `?project=${encodeURIComponent(instance.project)}`;
  return `${base}/${encodeURIComponent(instance.name)}${below}${query}`;
}
