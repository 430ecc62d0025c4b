/** Shapes that differ without their colours. */
export type Shape = "dot" | "ring" | "bars" | "square" | "triangle" | "cross" | "diamond" | "check" | "swap" | "back" | "plus";

const PATHS: Record<Shape, string> = {
  dot: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3Z",
  ring: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Zm0 2a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7Z",
  bars: "M4 3h3v10H4Zm5 0h3v10H9Z",
  square: "M3.5 3.5h9v9h-9Z",
  triangle: "M8 1.8 15 14H1Zm-.9 4.7.3 3.9h1.2l.3-3.9Zm.9 5a.9.9 0 1 0 0 1.6.9.9 0 0 0 0-1.6Z",
  cross: "M3.2 4.6 4.6 3.2 8 6.6l3.4-3.4 1.4 1.4L9.4 8l3.4 3.4-1.4 1.4L8 9.4l-3.4 3.4-1.4-1.4L6.6 8Z",
  diamond: "M8 1.8 14.2 8 8 14.2 1.8 8Z",
  check: "M6.5 10.1 13 3.6l1.4 1.4-7.9 7.9-4.9-4.9L3 6.6Z",
  swap: "M10.5 2 14 5.2 10.5 8.4V6.2H3v-2h7.5Zm-5 5.6v2.2H13v2H5.5V14L2 10.8Z",
  back: "M6.5 2v3H9a4.5 4.5 0 0 1 0 9H5v-2h4a2.5 2.5 0 0 0 0-5H6.5v3L2 6Z",
  plus: "M7 2.5h2V7h4.5v2H9v4.5H7V9H2.5V7H7Z",
};

export function Icon({ shape }: { shape: Shape }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" data-shape={shape}>
      <path d={PATHS[shape]} />
    </svg>
  );
}
