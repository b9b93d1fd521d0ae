/** Children that are made again only when something that they are made of has changed: for the many cards of a grid. */
import { Component, type ComponentChildren } from "preact";

interface Props {
  /** What the children are made of; always as many. */
  of: readonly unknown[];
  children: () => ComponentChildren;
}

export class Unchanged extends Component<Props> {
  override shouldComponentUpdate(next: Props): boolean {
    return next.of.some((one, place) => !Object.is(one, this.props.of[place]));
  }

  override render() {
    return this.props.children();
  }
}
