/** The few line icons of the interface, drawn on a 16 × 16 grid. */
const PATHS = {
  overview: "M2.5 8.5 8 3.5l5.5 5M4 7.5v5.5h8V7.5",
  graphs: "M4 5.5a1.7 1.7 0 1 0 0-.01M12 4.5a1.7 1.7 0 1 0 0-.01M8.5 13a1.7 1.7 0 1 0 0-.01M5.6 5.2l4.8-.5M4.9 6.9l2.9 4.8M11.4 6.1 9.4 11.4",
  pairs: "M2.5 3.5h4.5v9H2.5zM9 3.5h4.5v9H9z",
  votes: "M4.5 3.5 2 9h5zM11.5 3.5 9 9h5zM2 9a2.5 2.5 0 0 0 5 0M9 9a2.5 2.5 0 0 0 5 0M8 2.5v11M5.5 13.5h5M4.5 3.5h7",
  jobs: "M2.5 12.5c2.5 0 3-7 5.5-7s2.5 4 5.5 4M2.5 2.5v11h11",
  imports: "M8 2.5v7.5M5 7l3 3 3-3M2.5 11.5v2h11v-2",
  sun: "M8 5.2a2.8 2.8 0 1 0 .01 0M8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.8.8M11.8 11.8l.8.8M12.6 3.4l-.8.8M4.2 11.8l-.8.8",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5z",
  auto: "M8 2.5a5.5 5.5 0 1 0 .01 0M8 2.5v11",
  book: "M3 3h4.2c.5 0 .8.4.8.8V13c0-.5-.4-.8-.8-.8H3zM13 3H8.8c-.5 0-.8.4-.8.8V13c0-.5.4-.8.8-.8H13z",
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  minus: "M4 8h8",
  question: "M6 6.2a2 2 0 1 1 2.7 1.9c-.5.2-.7.6-.7 1.1M8 11.7v.1",
  left: "M10 3.5 5.5 8l4.5 4.5",
  right: "M6 3.5 10.5 8 6 12.5",
  down: "M3.5 6 8 10.5 12.5 6",
  plus: "M8 3.5v9M3.5 8h9",
  fit: "M3 6V3h3M10 3h3v3M13 10v3h-3M6 13H3v-3",
  eye: "M1.5 8S4 3.8 8 3.8 14.5 8 14.5 8 12 12.2 8 12.2 1.5 8 1.5 8zM8 6.2a1.8 1.8 0 1 0 .01 0",
  hidden: "M1.5 8S4 3.8 8 3.8 14.5 8 14.5 8 12 12.2 8 12.2 1.5 8 1.5 8zM3 13 13 3",
  refresh: "M13 8a5 5 0 1 1-1.5-3.5M13 2.5V5h-2.5",
  lock: "M4 7.5h8v5.5H4zM5.7 7.5V5.3a2.3 2.3 0 0 1 4.6 0v2.2",
  play: "M5 3.5v9l7.5-4.5z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  stop: "M4.5 4.5h7v7h-7z",
  save: "M3 3h8l2 2v8H3zM5.5 3v3.5h4V3M5.5 13V9.5h5V13",
  file: "M4 2.5h5l3 3v8H4zM9 2.5v3h3",
  alert: "M8 2.5 14 13H2zM8 6.5v3M8 11.3v.1",
  arrow: "M3 8h9.5M8.5 4l4 4-4 4",
  filter: "M2.5 4h11M4.5 8h7M6.5 12h3",
  search: "M7 3a4 4 0 1 0 .01 0M10 10l3.5 3.5",
  link: "M6.8 9.2 9.2 6.8M7.5 4.8l1.2-1.2a2.6 2.6 0 0 1 3.7 3.7l-1.2 1.2M8.5 11.2l-1.2 1.2a2.6 2.6 0 0 1-3.7-3.7l1.2-1.2",
  key: "M6 7a2.8 2.8 0 1 0 .01 0M8 8l5.5-5.5M11.5 4.5l1.7 1.7M9.6 6.4l1.4 1.4",
  exports: "M8 10V2.5M5 5.5l3-3 3 3M2.5 11.5v2h11v-2",
  edit: "M3 13l.6-2.8L11 2.8l2.2 2.2-7.4 7.4z",
  star: "M8 2.5l1.7 3.5 3.8.5-2.8 2.7.7 3.8L8 11.2 4.6 13l.7-3.8L2.5 6.5 6.3 6z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
