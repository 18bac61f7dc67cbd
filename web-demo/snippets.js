// This file owns the two snippets of the demo page: how a push is written for a shell and for PHP.
// Each is a list of parts; { s } marks a quoted string, so that the page can colour it. Where the push
// has to show a key, it is taken from the variable KEY of the environment: no key is ever shown here.

// Inside single quotes a shell knows no escape: close, add a quoted quote, open again.
const shellQuote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
// Inside single quotes PHP reads only \\ and \' as escapes.
const phpQuote = (text) => `'${text.replace(/[\\']/g, '\\$&')}'`;

export function curlParts(url, form, hasKey) {
  const parts = ['curl ', { s: shellQuote(url) }];
  if (hasKey) parts.push(' \\\n  -H ', { s: '"authorization: Bearer $KEY"' });
  // `name=value` is never read as a file name here, even when the value starts with "@".
  for (const [name, value] of Object.entries(form)) {
    parts.push(' \\\n  --data-urlencode ', { s: shellQuote(`${name}=${value}`) });
  }
  return parts;
}

export function phpParts(url, form, hasKey) {
  const parts = ['$curl = curl_init(', { s: phpQuote(url) }, ');\n', 'curl_setopt($curl, CURLOPT_POSTFIELDS, [\n'];
  for (const [name, value] of Object.entries(form)) {
    parts.push('    ', { s: phpQuote(name) }, `${' '.repeat(7 - name.length)} => `, { s: phpQuote(value) }, ',\n');
  }
  parts.push(']);\n');
  if (hasKey) parts.push('curl_setopt($curl, CURLOPT_HTTPHEADER, [', { s: phpQuote('authorization: Bearer ') }, ' . getenv(', { s: phpQuote('KEY') }, ')]);\n');
  parts.push('curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);\n', 'echo curl_exec($curl);');
  return parts;
}
