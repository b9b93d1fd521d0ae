/** The shell: navigation, theme, connection, and which page an address shows. */
import { Link, Route, Switch, useLocation } from "wouter-preact";
import * as api from "./api/client";
import { useResource } from "./api/resource";
import { Empty } from "./components/basics";
import { EditNotice } from "./components/edit-notice";
import { Icon, type IconName } from "./components/icon";
import { AccessPage } from "./pages/access";
import { GraphPage } from "./pages/graph";
import { GraphsPage } from "./pages/graphs";
import { ImportsPage } from "./pages/imports";
import { JobPage } from "./pages/job";
import { JobsPage } from "./pages/jobs";
import { OverviewPage } from "./pages/overview";
import { PairingPage } from "./pages/pairing";
import { PairsPage } from "./pages/pairs";
import { SignInPage } from "./pages/sign-in";
import { VotesPage } from "./pages/votes";
import { useScrollMemory } from "./scroll-memory";
import { themeChoice, type ThemeChoice } from "./theme";

const NAVIGATION: { href: string; label: string; icon: IconName; under: string[] }[] = [
  { href: "/", label: "Overview", icon: "overview", under: [] },
  { href: "/graphs", label: "Graphs", icon: "graphs", under: ["/graphs"] },
  { href: "/pairs", label: "Pairs", icon: "pairs", under: ["/pairs", "/pairings"] },
  { href: "/votes", label: "Votes", icon: "votes", under: ["/votes"] },
  { href: "/jobs", label: "Jobs", icon: "jobs", under: ["/jobs"] },
  { href: "/imports", label: "Data", icon: "imports", under: ["/imports"] },
  { href: "/access", label: "Access", icon: "key", under: ["/access"] },
];

const THEMES: Record<ThemeChoice, { next: ThemeChoice; icon: IconName; label: string }> = {
  auto: { next: "dark", icon: "auto", label: "Theme: as the system" },
  dark: { next: "light", icon: "moon", label: "Theme: dark" },
  light: { next: "auto", icon: "sun", label: "Theme: light" },
};

function Sidebar() {
  const [path] = useLocation();
  const health = useResource("health", api.health, { poll: () => 10_000, keep: true });
  const down = health.error !== undefined;
  const choice = THEMES[themeChoice.value];
  return (
    <header class="sidebar">
      <Link href="/" class="brand" aria-label="Diptych, overview">
        <svg width="26" height="26" viewBox="0 0 32 32" aria-hidden="true">
          <rect x="3" y="5" width="12" height="22" rx="3" fill="currentColor" />
          <rect x="17" y="5" width="12" height="22" rx="3" fill="none" stroke="currentColor" stroke-width="2.4" />
          <circle cx="23" cy="16" r="3" fill="var(--loser)" />
        </svg>
        <span class="label">Diptych</span>
      </Link>
      <nav aria-label="Main">
        {NAVIGATION.map(({ href, label, icon, under }) => {
          const here = href === "/" ? path === "/" : under.some((prefix) => path === prefix || path.startsWith(`${prefix}/`));
          return (
            <Link key={href} href={href} class="nav-link" aria-current={here ? "page" : undefined} title={label}>
              <Icon name={icon} />
              <span class="label">{label}</span>
            </Link>
          );
        })}
      </nav>
      <div class="sidebar-foot">
        <a class="nav-link" href="/api/docs" title="API">
          <Icon name="book" />
          <span class="label">API</span>
        </a>
        <button
          type="button"
          class="nav-link nav-button"
          title={choice.label}
          aria-label={choice.label}
          onClick={() => {
            themeChoice.value = choice.next;
          }}
        >
          <Icon name={choice.icon} />
          <span class="label">{choice.label}</span>
        </button>
        <div class="nav-link nav-status" role="status" title={down ? "The server does not answer" : "Connected"}>
          <span class={`live-dot ${down ? "down" : ""}`} />
          <span class="label">{down ? "No answer" : "Connected"}</span>
        </div>
      </div>
    </header>
  );
}

function Pages() {
  return (
    <Switch>
      <Route path="/" component={OverviewPage} />
      <Route path="/graphs" component={GraphsPage} />
      <Route path="/graphs/:id">{({ id }) => <GraphPage key={id} id={id} />}</Route>
      <Route path="/pairs" component={PairsPage} />
      <Route path="/pairings/:id">{({ id }) => <PairingPage key={id} id={id} />}</Route>
      <Route path="/votes" component={VotesPage} />
      <Route path="/jobs" component={JobsPage} />
      <Route path="/jobs/:id">{({ id }) => <JobPage key={id} id={id} />}</Route>
      <Route path="/access" component={AccessPage} />
      <Route path="/imports">
        <ImportsPage />
      </Route>
      <Route path="/imports/:id">{({ id }) => <ImportsPage id={id} />}</Route>
      <Route>
        <Empty icon="question" title="There is no such page">
          <p>The address names nothing that Diptych shows.</p>
          <Link href="/" class="button">
            To the overview
          </Link>
        </Empty>
      </Route>
    </Switch>
  );
}

export function App() {
  const [path] = useLocation();
  useScrollMemory(path);
  return (
    <div class="shell">
      <a class="skip button" href="#main">
        To the content
      </a>
      <Sidebar />
      <main id="main" class="page" tabIndex={-1}>
        {api.signInWanted.value ? <SignInPage /> : <Pages />}
      </main>
      <EditNotice />
    </div>
  );
}
