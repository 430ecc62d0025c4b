import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import type { Ring } from "../model/ring";
import { axes, marksOn, type Mark, scales, tone } from "./plot";

export interface Curve {
  name: string;
  /** Where the ring keeps it. */
  series: number;
  /** The variable of the style sheet that has its colour. */
  tone: string;
  format: (value: number | null) => string;
  /** The same beside its scale, where there is less room. */
  axis: (value: number) => string;
  fill?: boolean;
  /** Curves differ by more than their colours. */
  dash?: number[];
  /** Whether its scale stands on the right. */
  right?: boolean;
}

interface Props {
  title: string;
  curves: Curve[];
  ring: Ring | undefined;
  marks: Mark[];
}

const HEIGHT = 170;

/** Curves over time. Its caption has the values of now, or those under the pointer. */
export function Chart({ title, curves, ring, marks }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shown = useRef(marks);
  const [pointed, point] = useState<number | null>(null);
  shown.current = marks;

  useEffect(() => {
    const { current } = place;
    if (!current) {
      return;
    }
    const made = new uPlot(options(curves, current.clientWidth, () => shown.current, point), [[]], current);
    plot.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: current.clientWidth, height: HEIGHT }));
    resize.observe(current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => made.redraw(false, true);
    dark.addEventListener("change", redraw);
    return () => {
      dark.removeEventListener("change", redraw);
      resize.disconnect();
      made.destroy();
    };
  }, [curves]);

  const values = curves.map(({ series }) => ring?.values(series) ?? []);
  useLayoutEffect(() => {
    if (ring && plot.current) {
      plot.current.setData([ring.times(), ...values]);
    }
  });

  const at = (own: (number | null)[]) => (pointed === null ? own.at(-1) : own[pointed]) ?? null;
  const told = curves.map(({ name, format }, index) => `${name} ${format(at(values[index] ?? []))}`);
  const empty = values.every((own) => own.every((value) => value === null));
  return (
    <figure>
      <figcaption>
        <span class="name">{title}</span>
        {curves.map((curve, index) => (
          <span key={curve.name} class="value">
            <Sample curve={curve} /> {curve.name} <b>{curve.format(at(values[index] ?? []))}</b>
          </span>
        ))}
      </figcaption>
      <div class="plot" ref={place} role="img" aria-label={`${title}: now ${told.join(", ")}; ${marks.length} swaps`} />
      {empty && <p class="empty">not known yet</p>}
    </figure>
  );
}

/** How the curve is drawn. */
function Sample({ curve }: { curve: Curve }) {
  return (
    <svg class="sample" viewBox="0 0 20 6" aria-hidden="true">
      <line x1="0" x2="20" y1="3" y2="3" stroke={`var(${curve.tone})`} stroke-width="2" stroke-dasharray={curve.dash ? "6 3" : undefined} />
    </svg>
  );
}

function options(curves: Curve[], width: number, marks: () => Mark[], point: (index: number | null) => void): uPlot.Options {
  const line = ({ name, tone: variable, fill, dash, right }: Curve): uPlot.Series => ({
    label: name,
    scale: right ? "right" : "y",
    stroke: () => tone(variable),
    width: 1.5,
    points: { show: false },
    ...(fill ? { fill: () => tone(`${variable}-fill`) } : {}),
    ...(dash ? { dash } : {}),
  });
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "charts" } },
    scales: scales(),
    axes: axes(curves),
    series: [{}, ...curves.map(line)],
    hooks: {
      draw: [(drawn) => marksOn(drawn, marks())],
      setCursor: [(drawn) => point(drawn.cursor.idx ?? null)],
    },
  };
}
