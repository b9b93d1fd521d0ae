/** Who may do what: tokens; and who did what: the audit log. */
import { useEffect, useState } from "preact/hooks";
import { useAddress } from "../address";
import { listAudit, listTokens, revokeToken, signedInAs, signOut } from "../api/access";
import { signInWanted } from "../api/client";
import { useResource } from "../api/resource";
import type { AuditEntry, Token } from "../api/types";
import { Empty, ErrorNotice, Panel, Skeleton } from "../components/basics";
import { Icon } from "../components/icon";
import { Table } from "../components/table";
import { TokenForm } from "../components/token-form";
import { formatAgo } from "../format";
import { usePageTitle } from "../page-title";

const dateOf = (iso: string): string => new Date(iso).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });

function standing(token: Token): { text: string; tone: string } {
  if (token.revoked_at) return { text: `revoked ${formatAgo(token.revoked_at)}`, tone: "chip-loser" };
  if (token.expires_at && Date.parse(token.expires_at) <= Date.now()) return { text: "expired", tone: "chip-warn" };
  return { text: token.expires_at ? `until ${dateOf(token.expires_at)}` : "valid", tone: "chip-winner" };
}

function TokenRow({ token, onChange, onFailure, onShow }: { token: Token; onChange: () => void; onFailure: (error: Error) => void; onShow: () => void }) {
  const [sure, setSure] = useState(false);
  const { text, tone } = standing(token);
  const revoke = async () => {
    // Who uses it is shut out at once: the first click asks.
    if (!sure) {
      setSure(true);
      return;
    }
    try {
      await revokeToken(token.id);
      onChange();
    } catch (error) {
      onFailure(error as Error);
    }
    setSure(false);
  };
  return (
    <tr>
      <td>
        <button type="button" class="link link-button" title="What it did" onClick={onShow}>
          {token.name}
        </button>
      </td>
      <td>
        <span class="row row-wrap">
          {token.scopes.map((scope) => (
            <span key={scope} class="chip">
              {scope}
            </span>
          ))}
        </span>
      </td>
      <td>
        <span class={`chip ${tone}`}>{text}</span>
      </td>
      <td class="quiet nowrap">{token.last_used_at ? formatAgo(token.last_used_at) : "never"}</td>
      <td class="row-actions">
        {!token.revoked_at && (
          <button type="button" class="button button-small button-danger" aria-label={`${sure ? "Really revoke" : "Revoke"} ${token.name}`} onBlur={() => setSure(false)} onClick={() => void revoke()}>
            {sure ? "Really revoke?" : "Revoke"}
          </button>
        )}
      </td>
    </tr>
  );
}

function Tokens({ onShow }: { onShow: (token: string) => void }) {
  const tokens = useResource("tokens", listTokens, { keep: true });
  const [failure, setFailure] = useState<Error | null>(null);
  const items = tokens.value?.items ?? [];
  return (
    <Panel title="Tokens" flush label="Tokens">
      <div class="panel-body">
        <TokenForm onDone={tokens.reload} />
      </div>
      {tokens.error && !tokens.value && <ErrorNotice error={tokens.error} what="The tokens could not be listed." />}
      {failure && <ErrorNotice error={failure} what="That did not work." />}
      {tokens.value && items.length === 0 && (
        <Empty icon="key" title="No token yet">
          <p>
            Without <code>--auth</code> nobody is asked. Make a token of the scope admin before you turn it on.
          </p>
        </Empty>
      )}
      {items.length > 0 && (
        <Table columns={["Name", "May", "State", "Last used", { hidden: "Actions" }]}>
          {items.map((token) => (
            <TokenRow key={token.id} token={token} onFailure={setFailure} onShow={() => onShow(token.id)} onChange={tokens.reload} />
          ))}
        </Table>
      )}
    </Panel>
  );
}

function Audit({ token, onAll }: { token: string | undefined; onAll: () => void }) {
  const first = useResource(`audit/${token ?? ""}`, (signal) => listAudit(token, null, signal));
  const [more, setMore] = useState<{ items: AuditEntry[]; cursor: string | null; busy: boolean; error?: Error }>({ items: [], cursor: null, busy: false });
  useEffect(() => setMore({ items: [], cursor: first.value?.next_cursor ?? null, busy: false }), [first.value]);
  const load = async () => {
    setMore((old) => ({ ...old, busy: true }));
    try {
      const page = await listAudit(token, more.cursor);
      setMore((old) => ({ items: [...old.items, ...page.items], cursor: page.next_cursor ?? null, busy: false }));
    } catch (error) {
      setMore((old) => ({ ...old, busy: false, error: error as Error }));
    }
  };
  const items = [...(first.value?.items ?? []), ...more.items];
  return (
    <Panel
      title="Audit log"
      flush
      label="Audit log"
      extra={
        <span class="row">
          {token && (
            <button type="button" class="button button-small" onClick={onAll}>
              Of all tokens
            </button>
          )}
          <button type="button" class="button button-small" onClick={first.reload}>
            <Icon name="refresh" size={13} /> Newest
          </button>
        </span>
      }
    >
      {(first.error ?? more.error) && <ErrorNotice error={(first.error ?? more.error) as Error} what="The log could not be read." />}
      {first.loading && !first.error && (
        <div class="panel-body">
          <Skeleton height={140} />
        </div>
      )}
      {first.value && items.length === 0 && (
        <Empty icon="file" title="Nothing yet">
          <p>Every request that was to change something is written down here, refused ones too.</p>
        </Empty>
      )}
      {items.length > 0 && (
        <Table columns={["When", "Who", "What", { number: "Answer" }, "Request"]} kind="audit">
          {items.map((entry) => (
            <tr key={entry.id}>
              <td class="quiet nowrap" title={entry.at}>
                {new Date(entry.at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" })}
              </td>
              <td class="nowrap">{entry.token_name ?? <span class="faint">nobody asked</span>}</td>
              <td class="mono">
                <span class="audit-method">{entry.method}</span> {entry.path}
              </td>
              <td class="number">
                <span class={`chip ${entry.status < 400 ? "chip-winner" : "chip-loser"}`}>{entry.status}</span>
              </td>
              <td class="mono faint small" title={entry.request_id}>
                {entry.request_id.slice(0, 8)}
              </td>
            </tr>
          ))}
        </Table>
      )}
      {more.cursor && (
        <div class="panel-body">
          <button type="button" class="button" disabled={more.busy} onClick={() => void load()}>
            Earlier
          </button>
        </div>
      )}
    </Panel>
  );
}

export function AccessPage() {
  usePageTitle("Access");
  const [address, change] = useAddress();
  const [who, setWho] = useState(signedInAs);
  const [failure, setFailure] = useState<Error | null>(null);
  const leave = async () => {
    try {
      await signOut();
      setWho(null);
      signInWanted.value = true;
    } catch (error) {
      setFailure(error as Error);
    }
  };
  return (
    <>
      <div class="page-head">
        <div>
          <h1>Access</h1>
          <p>
            Tokens for people and programs, and what was done with them. They count where the service runs with <code>--auth</code>.
          </p>
        </div>
        {who && (
          <div class="row">
            <span class="quiet">
              Signed in as <strong>{who}</strong>
            </span>
            <button type="button" class="button" onClick={() => void leave()}>
              Sign out
            </button>
          </div>
        )}
      </div>
      {failure && <ErrorNotice error={failure} what="Still signed in." />}
      <Tokens onShow={(token) => change({ token }, true)} />
      <Audit key={address.token ?? ""} token={address.token} onAll={() => change({ token: null }, true)} />
    </>
  );
}
