/** Makes a token, and shows its secret once. */
import { useState } from "preact/hooks";
import { createToken, SCOPES } from "../api/access";
import type { NewToken } from "../api/types";
import { ErrorNotice } from "./basics";
import { Icon } from "./icon";

/** Days that a token is worth something; 0: always. */
const LIVES = [0, 7, 30, 90, 365];
const DAY = 86_400_000;

function Secret({ token, onClose }: { token: NewToken; onClose: () => void }) {
  const [copied, setCopied] = useState(false);
  return (
    <div class="notice notice-warn" role="status">
      <Icon name="key" />
      <div class="stack stack-s grow">
        <strong>The secret of “{token.name}” is shown now and never again.</strong>
        <div class="row">
          <input class="input mono" readOnly aria-label="Secret" value={token.secret} onFocus={(event) => event.currentTarget.select()} />
          <button
            type="button"
            class="button"
            onClick={() => {
              navigator.clipboard?.writeText(token.secret).then(
                () => setCopied(true),
                () => setCopied(false),
              );
            }}
          >
            {copied ? "Copied" : "Copy"}
          </button>
          <button type="button" class="button" onClick={onClose}>
            Done
          </button>
        </div>
      </div>
    </div>
  );
}

export function TokenForm({ onDone }: { onDone: () => void }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["read"]);
  const [days, setDays] = useState(0);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const [made, setMade] = useState<NewToken | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      const expires_at = days > 0 ? new Date(Date.now() + days * DAY).toISOString() : undefined;
      setMade(await createToken({ name: name.trim(), scopes, ...(expires_at ? { expires_at } : {}) }));
      setName("");
      onDone();
    } catch (error) {
      setFailure(error as Error);
    }
    setBusy(false);
  };
  return (
    <form class="stack stack-s" onSubmit={submit} aria-label="New token">
      <div class="row row-wrap token-form">
        <label class="field">
          <span>Name</span>
          <input class="input" placeholder="nightly export" maxLength={100} value={name} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <fieldset class="field token-scopes">
          <legend class="small quiet">May</legend>
          <div class="row row-wrap">
            {SCOPES.map((scope) => (
              <label key={scope.name} class="row token-scope" title={scope.help}>
                <input
                  type="checkbox"
                  checked={scopes.includes(scope.name)}
                  onChange={() => setScopes((old) => (old.includes(scope.name) ? old.filter((one) => one !== scope.name) : [...old, scope.name]))}
                />
                {scope.name}
              </label>
            ))}
          </div>
        </fieldset>
        <label class="field">
          <span>Valid</span>
          <select class="select" value={days} onChange={(event) => setDays(Number(event.currentTarget.value))}>
            {LIVES.map((life) => (
              <option key={life} value={life}>
                {life === 0 ? "always" : `for ${life} days`}
              </option>
            ))}
          </select>
        </label>
        <button type="submit" class="button button-primary" disabled={busy || name.trim() === "" || scopes.length === 0}>
          <Icon name="plus" /> Make token
        </button>
      </div>
      <span class="small faint">
        {SCOPES.filter(({ name }) => scopes.includes(name))
          .map(({ name, help }) => `${name}: ${help}`)
          .join("; ") || "Choose what it may do."}
      </span>
      {failure && <ErrorNotice error={failure} what="The token was not made." />}
      {made && <Secret token={made} onClose={() => setMade(null)} />}
    </form>
  );
}
