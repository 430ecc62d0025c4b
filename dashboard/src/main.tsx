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
  // Changes come in bursts, a thousand events when the page is opened: each picture of the screen shows all that came.
  let due = false;
  const live = new Live(() => {
    if (!due) {
      due = true;
      requestAnimationFrame(draw);
    }
  });
  const draw = () => {
    due = false;
    render(<App live={live} />, page);
  };
  draw();
  live.start();
}
