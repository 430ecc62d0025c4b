import type { ComponentChildren } from "preact";

/**
 * A table whose rows become cards where the page is narrow. The roles stand there in words because a browser takes a
 * table whose rows are laid out as something else for no table.
 */
export function Table({ caption, heads, children }: { caption: string; heads: Head[]; children: ComponentChildren }) {
  return (
    <table role="table">
      <caption class="unseen">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {heads.map(({ label, number }) => (
            <th key={label} role="columnheader" scope="col" class={number ? "number" : ""}>
              {label}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">{children}</tbody>
    </table>
  );
}

export interface Head {
  label: string;
  number?: boolean;
}

export function Row({ children, chosen }: { children: ComponentChildren; chosen?: boolean }) {
  return (
    <tr role="row" class={chosen ? "chosen" : ""}>
      {children}
    </tr>
  );
}

/** The cell that names its row. */
export function RowHead({ children }: { children: ComponentChildren }) {
  return (
    <th role="rowheader" scope="row">
      {children}
    </th>
  );
}

interface CellProps {
  /** The heading of its column, which a card shows beside it. */
  label: string;
  number?: boolean;
  /** What stands small below the value. */
  below?: ComponentChildren;
  children: ComponentChildren;
}

export function Cell({ label, number, below, children }: CellProps) {
  return (
    <td role="cell" data-label={label} class={number ? "number" : ""}>
      <div>{children}</div>
      {below && <div class="below">{below}</div>}
    </td>
  );
}
