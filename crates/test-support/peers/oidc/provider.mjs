// An OpenID Connect provider for a test: the certified one of others, with client credentials, whose access tokens are signed for an
// audience. Its lines on standard input and output are JSON: `{"rotate": true}` makes new keys, `{"audience": …, "lifetime": …}` asks
// for a token.
import { createRequire } from "node:module";
import http from "node:http";
import path from "node:path";
import readline from "node:readline";

const packages = process.env.OIDC_PACKAGES;
const require = createRequire(path.join(packages, "package.json"));
const { default: Provider } = await import(require.resolve("oidc-provider"));
const { exportJWK, generateKeyPair } = await import(require.resolve("jose"));

let handle;
const server = http.createServer((request, response) => handle(request, response));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const secret = "of-the-client";
let made = 0;
let lifetime = 300;

async function rotate() {
  const { privateKey } = await generateKeyPair("RS256", { extractable: true });
  made += 1;
  const key = { ...(await exportJWK(privateKey)), kid: `key-${made}`, use: "sig", alg: "RS256" };
  const provider = new Provider(issuer, {
    jwks: { keys: [key] },
    clients: [{ client_id: "robot", client_secret: secret, grant_types: ["client_credentials"], redirect_uris: [], response_types: [] }],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience) => ({ scope: "rebuild", audience: audience.slice("urn:".length), accessTokenTTL: lifetime, accessTokenFormat: "jwt" }),
      },
    },
    ttl: { ClientCredentials: () => lifetime },
    extraTokenClaims: () => ({ preferred_username: "robot", groups: ["release-engineers"] }),
  });
  handle = provider.callback();
}

async function token(audience) {
  const answer = await fetch(`${issuer}/token`, {
    method: "POST",
    headers: { authorization: `Basic ${btoa(`robot:${secret}`)}` },
    body: new URLSearchParams({ grant_type: "client_credentials", resource: `urn:${audience}`, scope: "rebuild" }),
  });
  const body = await answer.json();
  if (!answer.ok) throw new Error(JSON.stringify(body));
  return body.access_token;
}

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
await rotate();
say({ issuer });
for await (const line of readline.createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  if (asked.rotate) await rotate();
  lifetime = asked.lifetime ?? 300;
  say({ token: await token(asked.audience) });
}
server.close();
