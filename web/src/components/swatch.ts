/** The colour that an attribute names, if it names one that CSS knows. */
const COLOURS = new Set(
  (
    "red orange yellow green blue purple violet pink brown black white gray grey cyan magenta teal navy gold silver beige " +
    "maroon olive turquoise tan lime indigo crimson salmon khaki lavender"
  ).split(" "),
);

const SHADES: Record<string, string> = {
  red: "#e5484d",
  green: "#30a46c",
  blue: "#3b82f6",
  yellow: "#f5d90a",
  orange: "#f76b15",
  purple: "#8e4ec6",
  cyan: "#00b8d4",
  pink: "#f472b6",
  brown: "#8a5a3b",
};

export function swatchOf(attributes: string[]): string | null {
  for (const attribute of attributes) {
    const word = attribute.trim().toLowerCase();
    if (COLOURS.has(word)) return SHADES[word] ?? word;
  }
  return null;
}
