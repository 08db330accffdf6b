import all from "uplot";
export default all;
