import type uPlot from "uplot";
import type { Curve } from "./chart";

/** Something that happened at a moment. */
export interface Mark {
  seconds: number;
  label: string;
}

/** A page that was just opened shows two minutes, so that its first seconds are no sliver at the edge. */
const LEAST_SECONDS = 120;
const FONT = '11px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

/** A colour of the style sheet, as it is at this moment: it changes with light and dark. */
export function tone(variable: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}

export function scales(): uPlot.Scales {
  const fromZero = (_plot: uPlot, _low: number, high: number): [number, number] => [0, high > 0 ? high * 1.1 : 1];
  return {
    x: {
      time: true,
      range: (_plot, low, high) => {
        const end = high ?? Date.now() / 1000;
        return [Math.min(low ?? end, end - LEAST_SECONDS), end];
      },
    },
    y: { range: fromZero },
    right: { range: fromZero },
  };
}

export function axes(curves: Curve[]): uPlot.Axis[] {
  const look = { stroke: () => tone("--ink-quiet"), font: FONT, ticks: { show: false } };
  const grid = { stroke: () => tone("--line"), width: 1 };
  const scale = (right: boolean): uPlot.Axis[] => {
    const curve = curves.find((found) => (found.right ?? false) === right);
    if (!curve) {
      return [];
    }
    const values = (_plot: uPlot, splits: number[]) => splits.map((value) => curve.axis(value));
    return [{ ...look, scale: right ? "right" : "y", side: right ? 1 : 3, size: 56, grid: right ? { show: false } : grid, values }];
  };
  const times = (_plot: uPlot, splits: number[]) =>
    splits.map((seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB"));
  return [{ ...look, grid: { show: false }, values: times, space: 80, size: 28 }, ...scale(false), ...scale(true)];
}

/** Draws a line with a label at each mark. */
export function marksOn(plot: uPlot, marks: Mark[]): void {
  const { ctx, bbox } = plot;
  const pixels = devicePixelRatio;
  const { min, max } = plot.scales.x ?? {};
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = tone("--mark");
  ctx.lineWidth = pixels;
  ctx.font = `${11 * pixels}px ${FONT.slice(5)}`;
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  for (const { seconds, label } of marks) {
    if (min == null || max == null || seconds < min || seconds > max) {
      continue;
    }
    const x = Math.round(plot.valToPos(seconds, "x", true));
    ctx.setLineDash([4 * pixels, 3 * pixels]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    // A label that would leave the chart stands on the other side of its line.
    const width = ctx.measureText(label).width + 6 * pixels;
    ctx.fillText(label, x + width > bbox.left + bbox.width ? x - width : x + 4 * pixels, bbox.top + 2 * pixels);
  }
  ctx.restore();
}
