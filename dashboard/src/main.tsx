import { render } from "preact";
import { App } from "./app";
import { Live } from "./model/live";
import "uplot/dist/uPlot.min.css";
import "./style/theme.css";
import "./style/page.css";
import "./style/tables.css";
import "./style/charts.css";

const page = document.getElementById("page");
if (page) {
  const live = new Live(() => draw(page));
  const draw = (into: HTMLElement) => render(<App live={live} />, into);
  draw(page);
  live.start();
}
