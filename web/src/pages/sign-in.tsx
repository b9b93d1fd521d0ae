/** What is shown where the service wants to know who one is. */
import { useState } from "preact/hooks";
import { signIn } from "../api/access";
import { ErrorNotice, Panel } from "../components/basics";
import { Icon } from "../components/icon";
import { usePageTitle } from "../page-title";

export function SignInPage() {
  usePageTitle("Sign in");
  const [secret, setSecret] = useState("");
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      await signIn(secret.trim());
    } catch (error) {
      setFailure(error as Error);
      setBusy(false);
    }
  };
  return (
    <div class="sign-in">
      <Panel label="Sign in">
        <form class="stack" onSubmit={submit}>
          <div>
            <h1>Sign in</h1>
            <p class="quiet">This service asks for a token. Whoever runs it makes one on the Access page, or by</p>
            <code class="sign-in-command">diptych token create --name laptop --scope admin</code>
          </div>
          <label class="field">
            <span>Token</span>
            <input class="input" type="password" autocomplete="current-password" placeholder="diptych_…" value={secret} onInput={(event) => setSecret(event.currentTarget.value)} required />
            <small>It goes into a cookie that scripts cannot read and other sites cannot send.</small>
          </label>
          {failure && <ErrorNotice error={failure} what="Not signed in." />}
          <button type="submit" class="button button-primary" disabled={busy || secret.trim() === ""}>
            <Icon name="key" /> Sign in
          </button>
        </form>
      </Panel>
    </div>
  );
}
