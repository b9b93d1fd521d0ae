/** Dark, light, or as the system says; kept in this browser. */
import { effect, signal } from "@preact/signals";

export type ThemeChoice = "auto" | "dark" | "light";

const KEY = "diptych.theme";
const media = matchMedia("(prefers-color-scheme: dark)");

function stored(): ThemeChoice {
  try {
    const value = localStorage.getItem(KEY);
    return value === "dark" || value === "light" ? value : "auto";
  } catch {
    return "auto";
  }
}

const resolve = (choice: ThemeChoice): "dark" | "light" => (choice === "auto" ? (media.matches ? "dark" : "light") : choice);

export const themeChoice = signal<ThemeChoice>(stored());
export const theme = signal<"dark" | "light">(resolve(themeChoice.value));

media.addEventListener("change", () => {
  theme.value = resolve(themeChoice.value);
});

effect(() => {
  theme.value = resolve(themeChoice.value);
  document.documentElement.dataset.theme = theme.value;
  try {
    if (themeChoice.value === "auto") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, themeChoice.value);
  } catch {
    // A browser that keeps nothing still gets its theme.
  }
});
