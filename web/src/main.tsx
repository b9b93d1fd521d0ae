import "./styles/font.css";
import { render } from "preact";
import { App } from "./app";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/parts.css";
import "./styles/pages.css";
import "./styles/curation.css";
import "./theme";

const root = document.getElementById("app");
if (root) render(<App />, root);
