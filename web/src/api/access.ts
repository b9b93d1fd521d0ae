/** Who may do what, and who did what. */
import { address, get, post, request, signInWanted } from "./client";
import type { AuditEntry, NewToken, Page, Token } from "./types";

export const SCOPES = [
  { name: "read", help: "look at everything" },
  { name: "curate", help: "graphs, votes, pairings, data in and out" },
  { name: "train", help: "generations, jobs, evaluations" },
  { name: "admin", help: "everything, also tokens and this log" },
] as const;

export const listTokens = (signal?: AbortSignal) => get<Page<Token>>(address("/tokens"), { limit: 200 }, signal);
export const createToken = (token: { name: string; scopes: string[]; expires_at?: string | undefined }) => post<NewToken>(address("/tokens"), token);
export const revokeToken = (id: string) => request<null>("DELETE", address("/tokens/{id}", { id }));

/** Audit entries, the newest first; of one token, or of all. */
export const listAudit = (token?: string, cursor?: string | null, signal?: AbortSignal) =>
  get<Page<AuditEntry>>(address("/audit"), { limit: 50, token_id: token, cursor }, signal);

/** Where this browser remembers whom its pages act as; the secret itself is in a cookie that scripts cannot read. */
const WHO = "diptych.session";
export const signedInAs = (): string | null => localStorage.getItem(WHO);

export async function signIn(secret: string): Promise<Token> {
  const token = await post<Token>(address("/session"), { secret });
  localStorage.setItem(WHO, token.name);
  signInWanted.value = false;
  return token;
}

export async function signOut(): Promise<void> {
  await request<null>("DELETE", address("/session"));
  localStorage.removeItem(WHO);
}
